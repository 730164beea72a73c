"""One stage in several processes of this machine, under torchrun: its progress, its refusals, its end.

Rank 0 tells its progress by lines on standard output; whichever rank refuses first leaves its error in the
job's scratch folder. The processes end when the one that started them is gone, so that a killed run leaves
nobody behind who would write into the next one's folders.
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

log = logging.getLogger(__name__)

MARK = "calkd-edge progress"
SECONDS_BETWEEN = 0.5
_REFUSED = "refused.json"


def run_in_processes(stage: Stage, job: Job, processes: int) -> None:
    """Run a stage function in `processes` processes; rank 0 writes `out`.

    Raises:
        CalkdError: what the first rank that refused raised; StageFailed when one died without a word.
    """
    description = {
        "function": stage.path,
        "params": dict(job.params),
        "places": dict(job.places),
        "inputs": {role: str(path) for role, path in job.inputs.items()},
        "out": str(job.out),
        "scratch": str(job.scratch),
        "started_by": os.getpid(),
    }
    path, refusal = job.scratch / "job.json", job.scratch / _REFUSED
    path.write_text(json.dumps(description), encoding="utf-8")
    refusal.unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "calkd_edge.stages", str(path)]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    log.info("starting %s", " ".join(command))
    last = "no message"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as started:
        assert started.stdout is not None  # asked for above
        for line in started.stdout:
            if line.startswith(MARK):
                done, total = map(int, line.removeprefix(MARK).split())
                job.progress(done, total)
                continue
            log.info("%s: %s", stage.name, line.rstrip())
            last = line.strip(" =-\n") or last
    if started.returncode == 0:
        return
    if refusal.is_file():
        raise _refused(refusal, stage.name)
    raise StageFailed(
        f"stage {stage.name}: a process of {processes} failed with status {started.returncode}: {last}",
        remedy="Read the log; run again to resume from the last epoch.",
        stage=stage.name,
    )


def _refused(path: Path, stage: str) -> CalkdError:
    told = json.loads(path.read_text(encoding="utf-8"))
    kind: type[CalkdError] = getattr(errors, told["kind"], StageFailed)
    refused = kind(told["message"], remedy=told["remedy"])
    if isinstance(refused, StageFailed):
        refused.stage = stage
    return refused


def run_rank(path: Path) -> None:
    """What every process of `run_in_processes` does: the job's function, its progress and refusal told."""
    told = json.loads(path.read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(told["started_by"],), daemon=True).start()
    module, _, name = told["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {role: Path(folder) for role, folder in told["inputs"].items()}
    out, scratch = Path(told["out"]), Path(told["scratch"])
    try:
        function(Job(told["params"], told["places"], inputs, out, scratch, _teller()))
    except CalkdError as refused:
        said = {"kind": type(refused).__name__, "message": refused.message, "remedy": refused.remedy}
        own = scratch / f".{_REFUSED}.{os.getpid()}"
        own.write_text(json.dumps(said), encoding="utf-8")
        if not (scratch / _REFUSED).exists():
            own.replace(scratch / _REFUSED)
        raise SystemExit(refused.exit_code) from refused


def _teller() -> Callable[[int, int], None]:
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        if os.environ.get("RANK", "0") == "0" and (
            done == total or time.monotonic() - last > SECONDS_BETWEEN
        ):
            last = time.monotonic()
            sys.stdout.write(f"{MARK} {done} {total}\n")
            sys.stdout.flush()

    return tell


def _end_with(starter: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(starter, 0)
        except ProcessLookupError:
            os._exit(1)
