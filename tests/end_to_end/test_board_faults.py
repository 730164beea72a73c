"""Four kinds of work on a board over ssh, and four things that go wrong in the middle of each.

Work: doctor, accuracy, latency, a comparison with a baseline. Faults: the session's sshd is killed, the line
goes silent, the disk there fills, the agent hangs. Each ends in exit 5 with what to do, leaves nothing half
written at home, and the same command then finishes with all its files.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmark_world import SHORT
from loopback_board import Board, children, disconnect
from tiny_run import Done, TinyRun, command

from calkd_edge.devices import connection, session
from calkd_edge.metrics.latency import LOADS, PROCESSES

pytestmark = pytest.mark.ssh
AWAY = ("--device", "board")
SMALL_DISK_BYTES = 32 << 20


@dataclass(frozen=True)
class Work:
    """A command, the agent's verb that is struck, what lies at home, and what a whole run leaves there."""

    verb: str
    begin: Callable[[], Done]
    files: Callable[[], set[Path]]
    done: frozenset[Path] = frozenset()


@pytest.fixture(autouse=True)
def world(board, tmp_path, monkeypatch):
    """The user's inventory has the board; waiting takes seconds."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/calkd-edge/devices.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"board:\n  host: {board.host}\n", encoding="utf-8")
    monkeypatch.setitem(LOADS, "quick", SHORT)
    monkeypatch.setitem(PROCESSES, "quick", 1)


@pytest.fixture
def small_disk(board):
    """The board's cache on a disk of its own, which can be filled."""
    board.cache.mkdir(parents=True, exist_ok=True)
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(board.cache)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    yield board.cache / "fill"
    disconnect()
    subprocess.run(["umount", str(board.cache)], check=True)


def files_under(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["doctor", "accuracy", "latency", "baseline"])
def work(request, tiny: TinyRun, tmp_path) -> Work:
    """What is under way; all that it needs is there."""
    out = tmp_path / "out"
    if request.param == "doctor":
        return Work("doctor", lambda: command("doctor", *AWAY), lambda: files_under(tmp_path))
    if request.param == "baseline":
        first = tmp_path / "first"
        asked = ("benchmark", tiny.out, *AWAY, "--precision", "int8")
        assert command(*asked, "--out", first).code == 0
        compare = (*asked, "--baseline", first, "--out", out)
        left = frozenset({Path("out/benchmark.json"), Path("out/benchmark.npz")})
        return Work("time", lambda: command(*compare), lambda: files_under(tmp_path), left)
    stage = {"accuracy": "predict-student-fp32@board", "latency": "benchmark-student-int8@board"}
    assert tiny.again(out, *AWAY).code == 0
    fresh = ("--fresh", stage[request.param])
    return Work(
        {"accuracy": "predict", "latency": "time"}[request.param],
        lambda: tiny.again(out, *AWAY, *fresh),
        lambda: {path for path in files_under(out) if path.name != "log.txt"},
        frozenset(files_under(out) - {Path("log.txt")}),
    )


class Strike(threading.Thread):
    """Stops the agent as soon as it does `verb`, then lets `fault` happen; the agent's process in `agent`."""

    def __init__(self, board: Board, verb: str, fault: Callable[[int], None]) -> None:
        super().__init__()
        self.board, self.verb, self.fault = board, verb, fault
        self.agent: int | None = None
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set() and self.agent is None:
            for path in self.board.cache.glob("sessions/*/pid"):
                with suppress(OSError, ValueError):
                    pid = int(path.read_text())
                    if self.verb.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                        os.kill(pid, signal.SIGSTOP)
                        self.agent = pid
                if self.agent is not None:
                    self.fault(self.agent)
                    return
            time.sleep(0.001)

    def __enter__(self) -> Strike:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(100):
        with suppress(OSError):
            if b") Z " not in Path(f"/proc/{pid}/stat").read_bytes():
                time.sleep(0.1)
                continue
        return True
    return False


def struck(work: Work, board: Board, tiny: TinyRun, fault: Callable[[int], None]) -> tuple[Done, int]:
    """The command with the fault in the middle; it leaves no file that a whole run does not leave."""
    before = work.files()
    with Strike(board, work.verb, fault) as strike:
        broken = work.begin()
    assert strike.agent is not None, f"the agent was not seen at {work.verb}: {broken.err}"
    assert broken.code == 5, broken.err
    assert work.files() <= before, "nothing half written"
    assert command("store", "check", "--store", tiny.store).code == 0
    return broken, strike.agent


def finishes(work: Work) -> None:
    """The same command once more, whole."""
    again = work.begin()
    assert again.code == 0, again.err
    assert work.done <= work.files()


def test_session_that_is_killed(work, board, tiny):
    def fault(pid):
        board.cut()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    broken, _ = struck(work, board, tiny, fault)
    assert "the connection to board broke" in broken.err
    assert "Check cable and board, then run again" in broken.err
    finishes(work)


def test_line_that_goes_silent(work, board, tiny, monkeypatch):
    monkeypatch.setattr(connection, "ALIVE_S", 1)
    monkeypatch.setattr(connection, "ALIVE_COUNT", 2)
    disconnect()  # the next connection is made with these
    held: list[int] = []

    def fault(pid):
        for child in children(board.server.pid):
            held.extend([*children(child), child])
        for process in held:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)

    try:
        broken, agent = struck(work, board, tiny, fault)
    finally:
        for process in held:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    assert "the connection to board broke" in broken.err
    assert "not responding" in broken.err
    finishes(work)


def test_disk_that_fills(small_disk, work, board, tiny):
    def fault(pid):
        with suppress(OSError), small_disk.open("wb", buffering=0) as handle:
            while True:
                handle.write(bytes(1 << 16))
        os.kill(pid, signal.SIGCONT)

    broken, _ = struck(work, board, tiny, fault)
    assert "No space left" in broken.err
    assert "Free space" in broken.err
    assert "--clean" in broken.err
    small_disk.unlink()
    finishes(work)


def test_agent_that_hangs(work, board, tiny, monkeypatch):
    with monkeypatch.context() as patient:
        patient.setattr(session, "RUN_TIMEOUT_S", 3.0)
        patient.setattr(session, "DOCTOR_TIMEOUT_S", 3.0)
        broken, agent = struck(work, board, tiny, lambda pid: None)
    assert "was not done after 3 s" in broken.err
    assert "run again: finished work is kept" in " ".join(broken.err.split())
    os.kill(agent, signal.SIGCONT)
    assert gone(agent), "it was told to end"
    finishes(work)
