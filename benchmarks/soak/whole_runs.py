"""Whole runs that are ended at any moment, and started again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_run import RECIPE

from calkd_edge.engine.store import Store
from calkd_edge.release.folder import BUNDLE, MODELS, SUMS, ReleaseFolder

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
EXIT = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
IN_A_CYCLE = 8
"""Every so many tries the run may finish; the next one begins with an empty store."""

LONGEST_S = 9.0
END_S = 15.0


def tiny_run(store: Path, out: Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """One undisturbed run of the tiny recipe."""
    return subprocess.run(
        command(store, out, processes), capture_output=True, text=True, check=False, env=environment()
    )


def command(store: Path, out: Path, processes: int) -> list[str]:
    """The command line of the tiny recipe."""
    recipe = store.with_name("recipe.yaml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    places = ["--recipe", str(recipe), "--store", str(store), "--out", str(out)]
    return [sys.executable, "-m", "calkd_edge", "compress", *places, "--processes", str(processes)]


def environment() -> dict[str, str]:
    """One thread: two processes would disturb each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def models_of(out: Path) -> dict[str, str]:
    """SHA-256 of the released models."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / MODELS).iterdir()}


def signalled_run(number: int, folder: Path) -> str:
    """Start the run, or go on with it, and send a signal at some moment; every eighth time let it finish."""
    for ignored in SIGNALS[
        1:
    ]:  # a shell that starts the soak in the background ignores some for all its children
        signal.signal(ignored, signal.SIG_DFL)
    draw = random.Random(f"signals {number}")
    processes = 2 if number // IN_A_CYCLE % 4 == 3 else 1
    home = folder / f"processes-{processes}"
    store, out = home / "store", home / "out"
    reference = home / "reference"
    if not (reference / "out" / SUMS).is_file():
        shutil.rmtree(home, ignore_errors=True)
        done = tiny_run(reference / "store", reference / "out", processes)
        if done.returncode not in (0, 4):
            return f"the undisturbed run ended with {done.returncode}: {done.stderr[-500:]}"
    if number % IN_A_CYCLE == IN_A_CYCLE - 1:
        done = tiny_run(store, out, processes)
        wrong = (
            [] if done.returncode in (0, 4) else [f"it ended with {done.returncode}: {done.stderr[-500:]}"]
        )
        wrong += [] if models_of(out) == models_of(reference / "out") else ["its models are others"]
        wrong += ReleaseFolder(out).problems() + in_store(store)
        wrong += [f"work/{path.name} was left" for path in (store / "work").iterdir()]
        for path in (store, out):
            shutil.rmtree(path)
        return "; ".join(wrong)
    return "; ".join(interrupted(draw, store, out, processes))


def interrupted(draw: random.Random, store: Path, out: Path, processes: int) -> list[str]:
    """One start that is ended by a signal, and everything that is wrong after it."""
    number, wait_s, whom = (
        draw.choice(SIGNALS),
        draw.uniform(0.3, LONGEST_S),
        draw.choice((os.kill, os.killpg)),
    )
    process = subprocess.Popen(
        command(store, out, processes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            whom(process.pid, number)
    try:
        _, errors = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return [f"no end within {END_S:.0f} s of {number.name} after {wait_s:.1f} s"]
    wrong = in_store(store) if store.is_dir() else []
    is_done = (out / SUMS).is_file()
    early = {-number} if wait_s < 1.5 or is_done else set()  # before our handler stands, or after it is gone
    if process.returncode not in {0, 4, EXIT[number], *early}:
        wrong.append(
            f"{number.name} after {wait_s:.1f} s ended it with {process.returncode}: {errors[-300:]}"
        )
    if "Traceback" in errors and wait_s > 1.5:
        wrong.append(f"{number.name} after {wait_s:.1f} s: {errors[-500:]}")
    if (out / BUNDLE).is_file() and (out / SUMS).is_file():
        wrong += ReleaseFolder(out).problems()
    return wrong


def in_store(store: Path) -> list[str]:
    """Every damage of the published folders."""
    opened = Store(store)
    return [f"{folder}: {problem}" for folder in opened.folders() for problem in opened.problems(folder)]
