"""Runs on disks that are too small at every place, and that go on after room was made."""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from signals import SHAPES, TWO, events, wait
from whole_runs import FINISHED, Run, watched

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.release.bundle import SUMS

IN_A_CYCLE = 8
"""Every so many tries there is room; the next one begins with empty folders."""

CLONE_NEWNS = 0x20000
ROOM = "size=1g,nr_inodes=100000"
PAGE = 4096
FRESH = ("teacher", "soft-labels", "export-student", "quantize-student-int8", "predict-student-fp32@local")
"""A run that came to its end does one of these again, with all that depends on it."""

SAID = re.compile(r"error: (.*?)\s+fix: Free space", re.S)


@dataclass(frozen=True)
class Disk:
    """A place that becomes full.

    Attributes:
        name: of its folder.
        make: the run in a folder.
        place: the folder of the run that is a disk of its own.
        most: the run writes about so many pages there.
        is_reused: every stage but the release is there already.
    """

    name: str
    make: Callable[[Path], Run]
    place: Callable[[Run], Path]
    most: int
    is_reused: bool = False


def _warm(home: Path) -> Run:
    return Run(home, is_warm=True)


def _on_one_disk(home: Path) -> Run:
    return Run(home, is_warm=True, disk=home / "disk")


RICH = next(shape for shape in SHAPES if shape.name == "rich")
STORE = Disk("store", _warm, lambda run: run.store, 3000)
OUT = Disk("out", _warm, lambda run: run.out, 300, is_reused=True)
TEMPORARY = Disk("temporary", _warm, lambda run: run.temporary, 3000)
DISKS = (
    STORE,
    OUT,
    TEMPORARY,
    Disk("one", _on_one_disk, lambda run: run.home / "disk", 4000),
    OUT,
    Disk("two", TWO.make, lambda run: run.store, 3000),
    TEMPORARY,
    Disk("rich", RICH.make, lambda run: run.store, 3000),
)
"""In turn, a cycle each."""


@cache
def own_mounts() -> None:
    """What this process mounts is seen by nobody else, and gone with the last process that sees it."""
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(CLONE_NEWNS) != 0:
        raise EnvironmentProblem(
            f"no mounts of its own: {os.strerror(ctypes.get_errno())}", remedy="Start it as root."
        )
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount(place: Path, options: str) -> bool:
    """A disk of memory at a place, or other sizes of the one that is there; whether it was possible."""
    place.mkdir(parents=True, exist_ok=True)
    change = "remount," if place.is_mount() else ""
    command = ["mount", "-t", "tmpfs", "-o", change + options, "none", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def full_disk(number: int, folder: Path) -> str:
    """Run with too little room at one place; every eighth time there is room, and it must end as ever."""
    own_mounts()
    disk = DISKS[number // IN_A_CYCLE % len(DISKS)]
    run = disk.make(folder / disk.name)
    reference = replace(run, home=run.home / "reference", disk=None)
    if not (reference.out / SUMS).is_file():
        shutil.rmtree(run.home, ignore_errors=True)
        if wrong := reference.finish():
            return f"the undisturbed run: {wrong[0]}"
    mount(disk.place(run), ROOM)
    if disk.is_reused and not run.store.is_dir():
        shutil.copytree(reference.store, run.store)
    if number % IN_A_CYCLE < IN_A_CYCLE - 1:
        return "; ".join(cramped(random.Random(f"disks {number}"), run, disk))
    wrong = run.finish()
    wrong += [] if wrong else run.unlike(reference)
    for path in (disk.place(run), run.store, run.out, run.temporary):
        _empty(path)
    return "; ".join(wrong)


def cramped(draw: random.Random, run: Run, disk: Disk) -> list[str]:
    """One start whose disk becomes full, and everything that is wrong after it."""
    place, seen = disk.place(run), events(run.store)
    if (run.out / SUMS).is_file() and not disk.is_reused:
        run = replace(run, options=(*run.options, "--fresh", draw.choice(FRESH)))
    process = run.start()
    wait(process, 60.0, until=lambda: len(events(run.store)) > len(seen))  # the room is enough for the plan
    limit = narrow(
        place, draw.choice(("nr_inodes", "size")), draw.randint(0, draw.choice((9, 90, disk.most)))
    )
    status, worked = watched(process, run.home)
    mount(place, ROOM)
    moment = f"{limit} at {disk.name}"
    if status is None:
        return [f"{moment}: no end, after {worked:.1f} s of work: {run.errors[-300:]}"]
    wrong = [f"{moment}: {problem}" for problem in run.damage()]
    if status in FINISHED:
        return wrong if (run.out / SUMS).is_file() else [*wrong, f"{moment}: {status} without a release"]
    said = SAID.search(run.errors)
    if status != EnvironmentProblem.exit_code or said is None or str(place) not in said[1]:
        wrong.append(f"{moment}: ended with {status}: {run.errors[-900:]}")
    if "Traceback" in run.errors:
        wrong.append(f"{moment}: {run.errors[-900:]}")
    return wrong


def narrow(place: Path, what: str, more: int) -> str:
    """Leave room for so many more files or pages at a place to which somebody writes; returns the limit."""
    while True:
        there = os.statvfs(place)
        files, pages = there.f_files - there.f_ffree, there.f_blocks - there.f_bfree
        limit = f"nr_inodes={files + more}" if what == "nr_inodes" else f"size={max(1, pages + more) * PAGE}"
        if mount(place, f"{ROOM},{limit}"):
            return f"{limit}, {more} more"


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
