"""The soak: damage of every kind, tried again and again; what docs/promises.md counts.

    make soak                            everything that the log still lacks
    make soak SOAK="--minutes 30"        what fits into half an hour
    make soak SOAK="--only recipes --tries 500"
    make soak SOAK="--jobs 2"            two tries side by side

Each campaign tries one kind of damage under numbers 0, 1, 2, ...; a number always gives the same damage. The
tries run in a process of their own, so that a hang, a crash or an endless allocation ends that try alone. The
log, log.jsonl beside this file, has a line for each batch; a soak that was cut goes on where the log ends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from campaigns import CAMPAIGNS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

LOG = HERE / "log.jsonl"
START_S = 120.0
"""A worker may take so long until its first try: it imports torch."""


def main() -> int:
    """Run what is left of the campaigns, shortest share done first; 1 when a try went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=24 * 60.0)
    parser.add_argument("--only", choices=sorted(CAMPAIGNS), action="append")
    parser.add_argument("--tries", type=int, help="instead of the number that each campaign is meant for")
    parser.add_argument("--log", type=Path, default=LOG)
    parser.add_argument("--jobs", type=int, default=1, help="tries side by side")
    parser.add_argument("--worker", metavar="CAMPAIGN", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen.worker)
        return 0
    end = time.monotonic() + 60 * chosen.minutes
    wanted = {name: chosen.tries or CAMPAIGNS[name].tries for name in chosen.only or CAMPAIGNS}
    wrong = 0
    while time.monotonic() < end:
        done = done_in(chosen.log)
        left = {
            name: done.get(name, 0) / count for name, count in wanted.items() if done.get(name, 0) < count
        }
        if not left:
            break
        name = min(left, key=lambda name: left[name])
        most = wanted[name] - done.get(name, 0)
        seconds = min(CAMPAIGNS[name].batch_s, max(1.0, end - time.monotonic()))
        line = batch(name, done.get(name, 0), most, seconds, chosen.jobs)
        wrong += len(line["wrong"])
        with chosen.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(
            f"{name}: {line['first']} + {line['tries']} in {line['seconds']} s, wrong: {line['wrong']}",
            flush=True,
        )
    return 1 if wrong else 0


def done_in(log: Path) -> dict[str, int]:
    """How many tries of each campaign a log holds."""
    done: dict[str, int] = {}
    for text in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        line = json.loads(text)
        done[line["campaign"]] = done.get(line["campaign"], 0) + line["tries"]
    return done


def batch(name: str, first: int, most: int, seconds: float, jobs: int = 1) -> dict[str, Any]:
    """Try numbers from `first` on for some seconds, `jobs` at a time; the line for the log."""
    numbers = Numbers(first, first + most, CAMPAIGNS[name].block, time.monotonic() + seconds)
    begun, wrong = time.monotonic(), dict[int, str]()
    threads = [threading.Thread(target=_try_blocks, args=(name, numbers, wrong)) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "campaign": name,
        "first": first,
        "tries": numbers.next - first,
        "wrong": [f"{number}: {answer}" for number, answer in sorted(wrong.items())],
        "seconds": round(time.monotonic() - begun, 1),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
    }


class Numbers:
    """Blocks of numbers, each handed out once, until the time is over."""

    def __init__(self, first: int, end: int, block: int, until: float) -> None:
        self.next, self.end, self.block, self.until = first, end, block, until
        self.lock = threading.Lock()

    def take(self) -> range:
        """The next block; it is empty at the end."""
        with self.lock:
            first = self.next
            if time.monotonic() < self.until:
                self.next = min(self.end, first - first % self.block + self.block)
            return range(first, self.next)


def _try_blocks(name: str, numbers: Numbers, wrong: dict[int, str]) -> None:
    worker = Worker(name)
    try:
        while block := numbers.take():
            for number in block:
                if worker.is_gone:
                    worker.end()
                    worker = Worker(name)
                if answer := worker.answer(number, CAMPAIGNS[name].limit_s):
                    wrong[number] = answer
    finally:
        worker.end()


class Worker:
    """A process that tries the numbers that it is sent, and prints a line for each."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.is_gone, self.is_new = False, True
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self.lines.put(line)
        self.lines.put("")

    def answer(self, number: int, limit_s: float) -> str:
        """What was wrong with a try; empty when nothing was."""
        assert self.process.stdin is not None
        try:
            print(number, file=self.process.stdin, flush=True)
            line = self.lines.get(timeout=limit_s + (START_S if self.is_new else 0.0))
        except BrokenPipeError:
            line = ""
        except queue.Empty:
            self.is_gone = True
            return f"no end within {limit_s:.0f} s"
        self.is_new = False
        if not line:
            self.is_gone = True
            return f"the process ended with {self.process.wait()}"
        return str(json.loads(line))

    def end(self) -> None:
        """End the process with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def work(name: str) -> None:
    """Try the numbers of standard input until it ends, in a folder that no other process has."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a try prints is not an answer
    folder, _lock = own_folder(Path(tempfile.gettempdir()) / "calkd-soak" / commit(), name)
    for line in iter(sys.stdin.readline, ""):
        answer = CAMPAIGNS[name].attempt(int(line), folder)
        out.write(json.dumps(answer) + "\n")
        out.flush()


def own_folder(root: Path, name: str) -> tuple[Path, IO[str]]:
    """The first of the folders NAME-0, NAME-1, ... that no process works in, and the lock that holds it."""
    for place in itertools.count():
        folder = root / f"{name}-{place}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return folder, lock
        lock.close()
    raise AssertionError("unreachable")


def commit() -> str:
    """The commit that is tried."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def processor() -> str:
    """The name of the processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
