"""Hours of use: runs, benchmarks, evaluations and collections in one process, and as commands.

A number is a round. What a process keeps after a round must be back at its level: memory, open files,
threads, child processes, and the bytes of store, release and temporary files.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

import yaml
from tiny_run import RECIPE

import calkd_edge as ck

WARM, COMPARED = 8, 12
"""Rounds until everything has been used once; rounds at each end whose medians are compared."""

COMMANDS_EVERY = 8
ALLOWED = {"memory_kb": 8192, "files": 0, "threads": 0, "children": 0, "disk_kb": 64}
"""By so much the late rounds may be above the early ones; the release's pages differ in their digits."""

FRESH = ("distill", "export-student", "soft-labels", "quantize-student-int8", "evaluate-student-fp32@local")


NOTE: dict[str, float] = {}
"""The levels so far, for the line of the log."""


@cache
def levels_of(folder: Path) -> list[dict[str, int]]:
    """The levels after each round of this process."""
    os.environ["TMPDIR"] = str(folder / "tmp")
    (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = None
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return []


def one_round(number: int, folder: Path) -> str:
    """Use everything once, and compare the levels with those of the first rounds of this process."""
    levels, draw = levels_of(folder), random.Random(f"hours {number}")
    (by_commands if number % COMMANDS_EVERY == COMMANDS_EVERY - 1 else by_functions)(draw, folder)
    levels.append(level(folder))
    NOTE.clear()
    NOTE.update(summary(levels))
    if len(levels) < WARM + 2 * COMPARED:
        return ""
    early, late = levels[WARM : WARM + COMPARED], levels[-COMPARED:]
    grown = {name: _median(late, name) - _median(early, name) for name in ALLOWED}
    wrong = [f"{name} grew by {more:.0f}" for name, more in grown.items() if more > ALLOWED[name]]
    if wrong:  # said once
        levels.clear()
    return "; ".join(wrong)


def by_functions(draw: random.Random, folder: Path) -> None:
    """A round in this process."""
    recipe, store = folder / "tiny.yaml", folder / "store"
    release = ck.compress(recipe, store=store, out=folder / "out", fresh=[draw.choice(FRESH)])
    assert release.report.verdict == "passed", release.report.verdict
    source = draw.choice((release.folder, release.bundle))
    ck.benchmark(source, precisions=["fp32"], soak="2s", store=store, out=folder / "benchmark")
    ck.evaluate(release.folder / "models" / "student.fp32.onnx", "synthetic", images=100)
    assert ck.verify(release.folder, run=True) == []
    ck.collect_store([recipe], store=store)


def by_commands(draw: random.Random, folder: Path) -> None:
    """The same as commands."""
    recipe, store, out = (str(folder / name) for name in ("tiny.yaml", "store", "out"))
    model = str(folder / "out" / "models" / "student.fp32.onnx")
    benchmark = ["--precision", "fp32", "--soak", "2s", "--out", str(folder / "benchmark")]
    lines = [
        ["compress", recipe, "--store", store, "--out", out, "--fresh", draw.choice(FRESH)],
        ["benchmark", out, "--store", store, *benchmark],
        ["evaluate", model, "--data", "synthetic", "--images", "100"],
        ["store", "gc", "--keep", recipe, "--store", store],
    ]
    for line in lines:
        command = [sys.executable, "-m", "calkd_edge", *line]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line[0]} ended with {done.returncode}: {done.stderr[-600:]}"


def level(folder: Path) -> dict[str, int]:
    """What this process holds, and what lies on the disk; journals and logs, which grow, left out."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free is not kept
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    places = [folder / name for name in ("store", "out", "tmp", "benchmark")]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name not in ("journal.jsonl", "log.txt")]
    return {
        "memory_kb": int(status["RssAnon"].split()[0]),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        "disk_kb": sum(path.stat().st_size for path in kept) // 1024,
    }


def summary(levels: list[dict[str, int]]) -> dict[str, float]:
    """Rounds, the medians of the first and last of them, and their slopes in 100 rounds."""
    used = levels[WARM:]
    if len(used) < COMPARED:
        return {"rounds": len(levels)}
    facts: dict[str, float] = {"rounds": len(levels)}
    for name in ALLOWED:
        facts[name] = _median(used[-COMPARED:], name)
        slope, _ = statistics.linear_regression(range(len(used)), [one[name] for one in used])
        facts[f"{name} in 100 rounds"] = round(100 * slope, 2)
    return facts


def _median(levels: list[dict[str, int]], name: str) -> float:
    return statistics.median(one[name] for one in levels)
