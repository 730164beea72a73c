"""Runs that a signal ends at any moment, and that are started again.

On one machine, in several processes, under torchrun, with a board, with every kind of training, and while the
release is written.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import loopback_board
from tiny_run import recipe_with
from whole_runs import FINISHED, MARK, Process, Run, end_all, marked, watched

from calkd_edge.devices.shell import ENDED_S
from calkd_edge.files.scratch import YOUNG_S
from calkd_edge.release.bundle import SUMS

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
EXIT = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
IN_A_CYCLE = 8
"""Every so many tries the run may finish; the next one begins with an empty store."""

FIRST_S = 0.3
IMPORTED_S = 1.5
"""Our handlers do not stand before that time after a cold start."""

WORK_S = 4.0
"""So many processor's seconds a process may go on working after a signal: a call of a library ends first.
Under torchrun there are three of them."""

RICH = recipe_with(
    distill={
        "epochs": 2,
        "images_per_step": 32,
        "optimizer": {"lr": 0.05},
        "losses": [{"name": "kd", "weight": 1.0, "temperature": 2.0}],
        "soft_labels": {"live": True},
    },
    precisions=[
        {"name": "fp32"},
        {"name": "int8", "images": 32},
        {"name": "int8_qat", "images": 32, "epochs": 2, "lr": 0.01},
    ],
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")


@dataclass(frozen=True)
class Shape:
    """A way to run a recipe.

    Attributes:
        name: of its folder.
        make: the run in a folder.
        longest_s: after the start the signal comes within that time.
        in_release: the signal comes while the release is written, and every other stage is reused.
    """

    name: str
    make: Callable[[Path], Run]
    longest_s: float
    in_release: bool = False


def _on_board(home: Path) -> Run:
    here = board(home.parent / "sshd")
    environment = {"PATH": f"{here.client}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(here.folder)}
    return Run(home, options=("--device", "board"), environment=environment, is_warm=True)


COLD = Shape("processes-1", Run, 9.0)
TWO = Shape("processes-2", lambda home: Run(home, options=("--processes", "2")), 9.0)
RELEASE = Shape("release", lambda home: Run(home, is_warm=True), 0.25, in_release=True)
SHAPES = (
    RELEASE,
    Shape("on-board", _on_board, 6.0),
    Shape("rich", lambda home: Run(home, RICH, is_warm=True), 6.0),
    RELEASE,
    TWO,
    Shape("warm", lambda home: Run(home, is_warm=True), 5.0),
    Shape("torchrun", lambda home: Run(home, launcher=TORCHRUN), 11.0),
    COLD,
)
"""In turn, a cycle each; the first eight cycles are older than the other shapes."""


@cache
def board(folder: Path) -> loopback_board.Board:
    """A board of this process, and an inventory that names it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    here = loopback_board.start(folder)
    (folder / "calkd-edge").mkdir()
    inventory = folder / "calkd-edge" / "devices.yaml"
    inventory.write_text(f"board:\n  host: {here.host}\n", encoding="utf-8")
    return here


def shape_of(number: int) -> Shape:
    """The shape of a number's cycle."""
    cycle = number // IN_A_CYCLE
    if cycle < IN_A_CYCLE:
        return TWO if cycle % 4 == 3 else COLD
    return SHAPES[cycle % len(SHAPES)]


def signalled_run(number: int, folder: Path) -> str:
    """Start the run, or go on with it, and send a signal at some moment; every eighth time let it finish."""
    for ignored in SIGNALS[
        1:
    ]:  # a shell that starts the soak in the background ignores some for its children
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
    shape = shape_of(number)
    run = shape.make(folder / shape.name)
    reference = replace(run, home=run.home / "reference")
    if not (reference.out / SUMS).is_file():
        shutil.rmtree(run.home, ignore_errors=True)
        if wrong := reference.finish():
            return f"the undisturbed run: {wrong[0]}"
    if shape.in_release and not run.store.is_dir():
        shutil.copytree(reference.store, run.store)
    if number % IN_A_CYCLE < IN_A_CYCLE - 1:
        return "; ".join(interrupted(random.Random(f"signals {number}"), run, shape))
    old = [] if shape.in_release else run.old_temporary(YOUNG_S)  # that run opens no device
    wrong = run.finish()
    wrong += [] if wrong else run.unlike(reference) + remains(run)
    wrong += [f"{path} was left" for path in old if path.exists()]
    run.clear()
    return "; ".join(wrong)


def interrupted(draw: random.Random, run: Run, shape: Shape) -> list[str]:
    """One start that is ended by a signal, and everything that is wrong after it."""
    number = draw.choice(SIGNALS)
    wait_s = draw.uniform(0.0 if shape.in_release else FIRST_S, shape.longest_s)
    whom = draw.choice((os.kill, os.killpg))
    seen = events(run.store)
    process = run.start()
    if shape.in_release:
        wait(process, 60.0, until=lambda: b'"report"' in events(run.store)[len(seen) :])
    wait(process, wait_s)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            whom(process.pid, number)
    status, worked = watched(process, run.home, quiet_s=15.0, most_work_s=(3 if run.launcher else 1) * WORK_S)
    moment = f"{number.name} after {wait_s:.3f} s ({shape.name})"
    is_early = not run.is_warm and wait_s < IMPORTED_S
    if status is None and run.launcher and is_early:  # torch's launcher drops a signal while it imports
        end_all(process, run.home)
        return run.damage() + remains(run)
    if status is None:
        return [f"no end after {moment}, and {worked:.1f} s of work: {run.errors[-300:]}"]
    if run.launcher and number == signal.SIGKILL:  # what it has started does not know of that, and works on
        end_all(process, run.home)
    wrong, is_done = run.damage(), (run.out / SUMS).is_file()
    # Before our handler stands, or after it is gone; and torchrun has answers of its own.
    # Python ends itself by SIGINT where a library's own import was interrupted: 130 for a shell too.
    is_by_itself = is_early or is_done or number == signal.SIGINT
    allowed = {*FINISHED, EXIT[number]} | ({-number} if is_by_itself else set())
    if run.launcher:
        return wrong + remains(run)
    if status not in allowed or (status in FINISHED and not is_done):
        wrong.append(f"{moment} ended it with {status}: {run.errors[-800:]}")
    if "Traceback" in run.errors and not is_early:
        wrong.append(f"{moment}: {run.errors[-800:]}")
    return wrong


def remains(run: Run) -> list[str]:
    """What of a run lives on after its end, here and on its board."""
    end = time.monotonic() + ENDED_S + 15.0
    entries = [f"{MARK}={run.home}"]
    there = board(run.home.parent / "sshd") if "--device" in run.options else None
    if there is not None:
        entries.append(f"HOME={there.home}")
    while time.monotonic() < end and any(map(_living, entries)):
        time.sleep(0.5)
    wrong = [f"process {text} of {entry} lives on" for entry in entries for text in _living(entry)]
    if there is not None:
        wrong += [f"{path.name} was left on the board" for path in there.cache.glob("sessions/*")]
        known = {".cache", "calkd-edge", "files", "sessions"}
        others = [path for path in there.home.rglob("*") if path.is_dir() and path.name not in known]
        wrong += [f"{path} was made on the board" for path in others]
    return wrong


def _living(entry: str) -> list[str]:
    """Processes with this entry; a shared connection ends by itself when it is idle for long."""
    texts = []
    for pid in marked(entry):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            texts += [] if "ControlPersist=" in text else [f"{pid} {text}"]
    return texts


def events(store: Path) -> bytes:
    """The journal of a store, as far as it is there."""
    journal = store / "journal.jsonl"
    return journal.read_bytes() if journal.is_file() else b""


def wait(process: Process, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Wait until the time is over, the process has ended, or something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not until():
        time.sleep(0.002)
