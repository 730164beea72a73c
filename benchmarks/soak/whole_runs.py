"""Whole runs of small recipes: how they are started, watched to their end, and judged."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import yaml
from exported_nets import settled
from tiny_run import RECIPE

from calkd_edge import stages
from calkd_edge.cli import app as cli
from calkd_edge.engine.store import Store
from calkd_edge.export.torch_export import export_onnx
from calkd_edge.release.bundle import SUMS
from calkd_edge.release.contents import BUNDLE, MODELS
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.verification import problems_of

MARK = "CALKD_SOAK_RUN"
"""In the environment of every process of a run: the run's folder."""

POLL_S = 0.005
SAMPLE_S = 0.25
TICKS = os.sysconf("SC_CLK_TCK")
FINISHED = (0, 4)


class Process(Protocol):
    """A started command line."""

    pid: int

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""


@cache
def import_everything() -> None:
    """Import what a run imports, late imports of exports and ONNX Runtime included."""
    for module in pkgutil.iter_modules(stages.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{stages.__name__}.{module.name}")
    importlib.import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(settled("resnet8"), (3, 32, 32), Path(folder) / "model.onnx", opset=20, metadata={})


class Forked:
    """The command line in a copy of this process, which has imported everything: a start costs no seconds."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], errors: Path) -> None:
        import_everything()
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run(arguments, environment, errors)
            finally:
                os._exit(70)

    def _run(self, arguments: list[str], environment: Mapping[str, str], errors: Path) -> None:
        os.setsid()
        for number, path in enumerate((os.devnull, os.devnull, errors)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        try:
            sys.argv[1:] = arguments
            status = cli.main()
        except BaseException:
            traceback.print_exc()
            status = 1
        atexit._run_exitfuncs()
        os._exit(status)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        if self.status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        return self.status


@dataclass
class Run:
    """A recipe with a store and a folder for its release.

    Attributes:
        home: holds what belongs to the run.
        recipe: its tree.
        options: more words of the command line.
        launcher: words before `-m calkd_edge`, after the interpreter.
        environment: more variables.
        is_warm: start it as a copy of this process.
        disk: the folder of store, release and temporary files, where that is another.
    """

    home: Path
    recipe: Mapping[str, Any] = field(default_factory=lambda: RECIPE)
    options: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    is_warm: bool = False
    disk: Path | None = None

    @property
    def temporary(self) -> Path:
        """Its folder of temporary files."""
        return (self.disk or self.home) / "tmp"

    @property
    def store(self) -> Path:
        """Its store."""
        return (self.disk or self.home) / "store"

    @property
    def out(self) -> Path:
        """Where its release is written."""
        return (self.disk or self.home) / "out"

    @property
    def errors(self) -> str:
        """What the last start printed on standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    @property
    def _errors(self) -> Path:
        return self.home / "errors.txt"

    def old_temporary(self, older_than_s: float) -> list[Path]:
        """What lies in its folder of temporary files for so long."""
        oldest = time.time() - older_than_s
        return [path for path in self.temporary.glob("calkd-*/") if path.lstat().st_mtime < oldest]

    def start(self) -> Process:
        """Start it in a session of its own."""
        for folder in (self.home, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        recipe = self.home / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(dict(self.recipe)), encoding="utf-8")
        words = ["compress", "--recipe", str(recipe), "--store", str(self.store), "--out", str(self.out)]
        words += self.options
        # One thread: two processes would disturb each other.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.temporary),  # where measurements wait for each other
            MARK: str(self.home),
            **self.environment,
        }
        if self.is_warm:
            return Forked(words, environment, self._errors)
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, *self.launcher, "-m", "calkd_edge", *words],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )

    def finish(self, longest_s: float = 240.0) -> list[str]:
        """Let it run to its end; what is wrong with that."""
        process = self.start()
        status, used = watched(process, self.home, longest_s=longest_s)
        if status is None:
            return [f"no end, after {used:.0f} s of work: {self.errors[-500:]}"]
        return [] if status in FINISHED else [f"it ended with {status}: {self.errors[-800:]}"]

    def clear(self) -> None:
        """Remove store and release."""
        for path in (self.store, self.out):
            shutil.rmtree(path, ignore_errors=True)

    def damage(self) -> list[str]:
        """What is wrong in the store and with the release, finished or not."""
        wrong = in_store(self.store) if self.store.is_dir() else []
        if (self.out / SUMS).is_file():
            wrong += ReleaseFolder(self.out).problems()
        if (self.out / BUNDLE).is_file():
            wrong += [f"bundle: {problem}" for problem in problems_of(self.out / BUNDLE)]
        return wrong

    def unlike(self, reference: Run) -> list[str]:
        """What a finished run left, or has other than an undisturbed one."""
        wrong = [] if models_of(self.out) == models_of(reference.out) else ["its models are others"]
        wrong += ReleaseFolder(self.out).problems() + self.damage()
        wrong += [f"work/{path.name} was left" for path in (self.store / "work").iterdir()]
        hidden = (path for path in self.out.rglob(".*") if path.name != ".gitignore")
        return wrong + [f"{path} was left" for path in hidden]


def models_of(out: Path) -> dict[str, str]:
    """SHA-256 of the released models."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / MODELS).glob("*")}


def in_store(store: Path) -> list[str]:
    """Every damage of the published folders."""
    opened = Store(store)
    return [f"{folder}: {problem}" for folder in opened.folders() for problem in opened.problems(folder)]


def watched(
    process: Process, home: Path, quiet_s: float = 30.0, most_work_s: float = 1e9, longest_s: float = 120.0
) -> tuple[int | None, float]:
    """Exit status of a run and the processor's seconds that it still worked; None where it hangs.

    A machine under load makes it slow, but not idle, and its work not more: a hang is a run that works for
    too long, or not at all.

    Args:
        process: that was started.
        home: of the run.
        quiet_s: so long it may wait without any work.
        most_work_s: so long it may work.
        longest_s: by the clock; only a broken machine comes so far.
    """
    begun = busy_at = sampled_at = time.monotonic()
    first = last = worked_s(process.pid, home)
    while (status := process.poll()) is None:
        time.sleep(POLL_S)
        now = time.monotonic()
        if now - sampled_at < SAMPLE_S:
            continue
        sampled_at, worked = now, worked_s(process.pid, home)
        if worked > last:
            busy_at, last = now, worked
        if now - busy_at > quiet_s or last - first > most_work_s or now - begun > longest_s:
            end_all(process, home)
            return None, last - first
    return status, last - first


def worked_s(pid: int, home: Path) -> float:
    """Processor's seconds of all processes of a run that live."""
    total = 0
    for process in {pid, *marked(f"{MARK}={home}")}:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def marked(entry: str) -> list[int]:
    """The live processes whose environment has an entry NAME=VALUE."""
    wanted, found = entry.encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end_all(process: Process, home: Path) -> None:
    """Kill a run with everything that it started."""
    for pid in {process.pid, *marked(f"{MARK}={home}")}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while process.poll() is None:
        time.sleep(POLL_S)
