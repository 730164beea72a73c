"""A stage in several processes, under torchrun: its progress, its errors, its end.

Rank 0 writes its progress as lines on standard output, and a rank that raises an error writes it there too:
the disk may be full. The processes end when their parent is gone, so that no process of a killed run writes
into the folders of the next run.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calkd_edge import errors
from calkd_edge.engine.nodes import REPORT_S, Nodes, launch_arguments
from calkd_edge.engine.stage import Job, Progress, Stage
from calkd_edge.errors import CalkdError, StageFailed
from calkd_edge.files import sha256_of
from calkd_edge.files.environment import CUBLAS_WORKSPACE, naming_lack_of_memory
from calkd_edge.files.full_disk import naming_full_disk, store_place, temporary_place

log = logging.getLogger(__name__)

PROGRESS_MARK = "calkd-edge progress"
PROGRESS_INTERVAL_S = 0.5
ERROR_MARK = "calkd-edge error"
STARTER = "CALKD_STARTER"
"""Variable with the process of this machine that started the launcher: its ranks end when it is gone."""
LAUNCHER_ENDS_S = 8.0
"""Seconds for the launcher to end its ranks when this process is ended."""


@dataclass(frozen=True)
class Launched:
    """How the ranks of this machine ended: the launcher's status, a rank's error, the last line."""

    code: int
    error: str
    last: str


def run_in_processes(stage: Stage, job: Job, processes: int, nodes: Nodes | None = None) -> None:
    """Run a stage function in `processes` processes on each machine; rank 0 writes `out`.

    Raises:
        CalkdError: the error of the first rank that raised one; StageFailed if a process died without one.
    """
    description = {
        "function": stage.path,
        "params": dict(job.params),
        "locations": dict(job.locations),
        "inputs": {role: str(path) for role, path in job.inputs.items()},
        "out": str(job.out),
        "scratch": str(job.scratch),
    }
    path = job.scratch / "job.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    if nodes is None:
        arguments = ["--standalone", f"--nproc-per-node={processes}"]
        result, elsewhere = (
            launched(arguments, path, processes, name=stage.name, on_progress=job.progress),
            None,
        )
    else:
        with nodes.running(path) as watch:
            arguments, pulses = launch_arguments(nodes.announced(), 0), watch.pulses()
            problem = partial(watch.problem, pulses)
            result = launched(
                arguments, path, processes, name=stage.name, on_progress=job.progress, problem=problem
            )
            elsewhere = watch.failure(REPORT_S) if result.code and not result.error else None
    if result.code == 0:
        return
    last = result.last
    if elsewhere is not None:
        failure = json.loads(elsewhere)
        result = Launched(result.code, failure["error"], "")
        last = f"machine {failure['node']}: {failure['last']}"
    if result.error:
        raise _read_error(result.error, stage.name)
    total = processes * (1 if nodes is None else nodes.count)
    raise StageFailed(
        f"stage {stage.name}: a process of {total} failed with status {result.code}: {last}",
        remedy="Read the log; run again to resume from the last epoch.",
        stage=stage.name,
    )


def launched(
    arguments: Sequence[str],
    path: Path,
    processes: int,
    *,
    name: str,
    on_progress: Progress = lambda done, total: None,
    problem: Callable[[], str | None] = lambda: None,
) -> Launched:
    """Start torchrun for the ranks of this machine, and wait until they have ended.

    Args:
        arguments: of torchrun, how the ranks meet.
        path: the job.
        processes: on this machine.
        name: begins their lines in the log.
        on_progress: called with the progress of rank 0, where that is here.
        problem: asked every second; a sentence ends the ranks.
    """
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *arguments,
        "-m",
        "calkd_edge.stages",
        str(path),
    ]
    environment = {"OMP_NUM_THREADS": str(threads_of(processes)), **dict([CUBLAS_WORKSPACE]), **os.environ}
    environment[STARTER] = str(os.getpid())
    log.info("starting %s", " ".join(command))
    last, error = "no message", ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as launcher:
        assert launcher.stdout is not None  # a pipe
        ended = threading.Event()
        watcher = threading.Thread(target=_end_at_problem, args=(launcher, problem, ended), daemon=True)
        watcher.start()
        try:
            for line in launcher.stdout:
                if line.startswith(PROGRESS_MARK):
                    done, total = map(int, line.removeprefix(PROGRESS_MARK).split())
                    on_progress(done, total)
                    continue
                if line.startswith(ERROR_MARK):
                    error = error or line.removeprefix(ERROR_MARK)  # that of the first rank
                    continue
                log.info("%s: %s", name, line.rstrip())
                last = line.strip(" =-\n") or last
        except BaseException:
            launcher.terminate()  # else leaving the block would wait until the training is done
            try:
                launcher.wait(LAUNCHER_ENDS_S)
            except subprocess.TimeoutExpired:  # it lost the signal while it imported; its ranks end with us
                launcher.kill()
            raise
        finally:
            ended.set()
    return Launched(launcher.returncode, error, last)


def threads_of(processes: int) -> int:
    """Threads of each of so many processes, which share the cores that this one may use."""
    return max(1, len(os.sched_getaffinity(0)) // processes)


def _end_at_problem(
    launcher: subprocess.Popen[str], problem: Callable[[], str | None], ended: threading.Event
) -> None:
    """End a launcher once there is a problem that its ranks would wait for."""
    while not ended.wait(1):
        if sentence := problem():
            log.warning("the processes of this machine are ended: %s", sentence)
            if not ended.wait(REPORT_S):  # they may notice by themselves, and say more
                launcher.terminate()
            return


def _read_error(line: str, stage: str) -> CalkdError:
    content = json.loads(line)
    kind: type[CalkdError] = getattr(errors, content["kind"], StageFailed)
    error = kind(content["message"], remedy=content["remedy"])
    if isinstance(error, StageFailed):
        error.stage = stage
    return error


def run_rank(path: Path) -> None:
    """Run the job's function in this process of `run_in_processes`, and write its progress and its error."""
    job = json.loads(path.read_text(encoding="utf-8"))
    if STARTER in os.environ:
        threading.Thread(target=_end_with, args=(int(os.environ[STARTER]),), daemon=True).start()
    inputs = {role: Path(folder) for role, folder in job["inputs"].items()}
    out, scratch = Path(job["out"]), Path(job["scratch"])
    try:
        for plugin, sha256 in job["params"].get("plugins", {}).items():
            _import_plugin(plugin, sha256)
        module, _, name = job["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        places = store_place(out.parents[2]), temporary_place()
        with naming_lack_of_memory("a process of the training"), naming_full_disk(*places):
            function(Job(job["params"], job["locations"], inputs, out, scratch, _progress_writer()))
    except CalkdError as error:
        content = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
        sys.stdout.write(f"{ERROR_MARK} {json.dumps(content)}\n")
        sys.stdout.flush()
        raise SystemExit(error.exit_code) from error


def _import_plugin(name: str, sha256: str) -> None:
    """Import a module, which registers the names that the parameters may contain.

    Raises:
        StageFailed: its file is not that of the plan.
    """
    module = importlib.import_module(name)
    if module.__file__ is None or sha256_of(Path(module.__file__)) != sha256:
        raise StageFailed(
            f"--plugin {name}: {module.__file__} changed since the plan",
            remedy="Run again; on several machines, give all of them the same file.",
        )


def _progress_writer() -> Callable[[int, int], None]:
    last = 0.0

    def write(done: int, total: int) -> None:
        nonlocal last
        if os.environ.get("RANK", "0") == "0" and (
            done == total or time.monotonic() - last > PROGRESS_INTERVAL_S
        ):
            last = time.monotonic()
            sys.stdout.write(f"{PROGRESS_MARK} {done} {total}\n")
            sys.stdout.flush()

    return write


def _end_with(starter: int) -> None:
    while not _has_ended(starter):
        time.sleep(1)
    os._exit(1)


def _has_ended(process: int) -> bool:
    """Whether a process is gone, or a zombie: in some containers nobody reads the status of one."""
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/stat").read_bytes()
    except ProcessLookupError:
        return True
    except OSError:  # another user's, or hidden: it is there
        return False
    return status.rpartition(b")")[2].split()[0] in (b"Z", b"X")
