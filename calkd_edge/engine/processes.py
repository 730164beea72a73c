"""A stage in several processes of this machine, under torchrun: its progress, its errors, its end.

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
from collections.abc import Callable
from pathlib import Path

from calkd_edge import errors
from calkd_edge.engine.stage import Job, Stage
from calkd_edge.errors import CalkdError, StageFailed
from calkd_edge.files.full_disk import naming_full_disk, store_place, temporary_place

log = logging.getLogger(__name__)

PROGRESS_MARK = "calkd-edge progress"
PROGRESS_INTERVAL_S = 0.5
ERROR_MARK = "calkd-edge error"
LAUNCHER_ENDS_S = 8.0
"""Seconds for the launcher to end its ranks when this process is ended."""


def run_in_processes(stage: Stage, job: Job, processes: int) -> None:
    """Run a stage function in `processes` processes; rank 0 writes `out`.

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
        "started_by": os.getpid(),
    }
    path = job.scratch / "job.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "calkd_edge.stages", str(path)]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    log.info("starting %s", " ".join(command))
    last, error = "no message", ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as launcher:
        assert launcher.stdout is not None  # a pipe
        try:
            for line in launcher.stdout:
                if line.startswith(PROGRESS_MARK):
                    done, total = map(int, line.removeprefix(PROGRESS_MARK).split())
                    job.progress(done, total)
                    continue
                if line.startswith(ERROR_MARK):
                    error = error or line.removeprefix(ERROR_MARK)  # that of the first rank
                    continue
                log.info("%s: %s", stage.name, line.rstrip())
                last = line.strip(" =-\n") or last
        except BaseException:
            launcher.terminate()  # else leaving the block would wait until the training is done
            try:
                launcher.wait(LAUNCHER_ENDS_S)
            except subprocess.TimeoutExpired:  # it lost the signal while it imported; its ranks end with us
                launcher.kill()
            raise
    if launcher.returncode == 0:
        return
    if error:
        raise _read_error(error, stage.name)
    raise StageFailed(
        f"stage {stage.name}: a process of {processes} failed with status {launcher.returncode}: {last}",
        remedy="Read the log; run again to resume from the last epoch.",
        stage=stage.name,
    )


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
    threading.Thread(target=_end_with_parent, args=(job["started_by"],), daemon=True).start()
    for plugin in job["params"].get("plugins", {}):
        importlib.import_module(plugin)  # it registers the names that the parameters may contain
    module, _, name = job["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {role: Path(folder) for role, folder in job["inputs"].items()}
    out, scratch = Path(job["out"]), Path(job["scratch"])
    try:
        with naming_full_disk(store_place(out.parents[2]), temporary_place()):
            function(Job(job["params"], job["locations"], inputs, out, scratch, _progress_writer()))
    except CalkdError as error:
        content = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
        sys.stdout.write(f"{ERROR_MARK} {json.dumps(content)}\n")
        sys.stdout.flush()
        raise SystemExit(error.exit_code) from error


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


def _end_with_parent(parent: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
