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
import traceback
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO, Any

from campaigns import CAMPAIGNS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

LOG = HERE / "log.jsonl"
MOST = 1_000_000
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
    wrong = 0
    while (now := time.monotonic()) < end:
        done = done_in(chosen.log)
        shares = {name: _share(name, done, chosen.tries) for name in chosen.only or CAMPAIGNS}
        shares = {name: share for name, share in shares.items() if share < 1}
        if not shares:
            break
        name = min(shares, key=lambda name: shares[name])
        campaign, (tries, seconds) = CAMPAIGNS[name], done.get(name, (0, 0.0))
        most = (chosen.tries or campaign.tries or MOST) - tries
        left_s = 3600 * campaign.hours - seconds if campaign.hours and not chosen.tries else end - now
        line = batch(name, tries, most, min(campaign.batch_s, left_s, max(1.0, end - now)), chosen.jobs)
        wrong += len(line["wrong"])
        with chosen.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(
            f"{name}: {line['first']} + {line['tries']} in {line['seconds']} s, wrong: {line['wrong']}",
            flush=True,
        )
    return 1 if wrong else 0


def done_in(log: Path) -> dict[str, tuple[int, float]]:
    """How many tries of each campaign a log holds, and their seconds."""
    done: dict[str, tuple[int, float]] = {}
    for text in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        line = json.loads(text)
        tries, seconds = done.get(line["campaign"], (0, 0.0))
        done[line["campaign"]] = tries + line["tries"], seconds + line["seconds"]
    return done


def _share(name: str, done: dict[str, tuple[int, float]], wanted: int | None) -> float:
    tries, seconds = done.get(name, (0, 0.0))
    return tries / wanted if wanted else CAMPAIGNS[name].share(tries, seconds)


def batch(name: str, first: int, most: int, seconds: float, jobs: int = 1) -> dict[str, Any]:
    """Try numbers from `first` on for some seconds, `jobs` at a time; the line for the log."""
    numbers = Numbers(first, first + most, CAMPAIGNS[name].block, time.monotonic() + seconds)
    begun, wrong, note = time.monotonic(), dict[int, str](), dict[str, float]()
    work = partial(_try_blocks, name, numbers, wrong, note)
    threads = [threading.Thread(target=work) for _ in range(jobs)]
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
        **({"note": note} if note else {}),
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


def _try_blocks(name: str, numbers: Numbers, wrong: dict[int, str], note: dict[str, float]) -> None:
    worker = Worker(name)
    try:
        while block := numbers.take():
            for number in block:
                if worker.is_gone:
                    worker.end()
                    worker = Worker(name)
                if answer := worker.answer(number, CAMPAIGNS[name].limit_s):
                    wrong[number] = answer
                note.update(worker.note)
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
            # A copy of a process whose OpenMP has threads hangs at its first parallel loop.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.is_gone, self.is_new = False, True
        self.note: dict[str, float] = {}
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
        said = json.loads(line)
        self.note = said["note"]
        return str(said["wrong"])

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
        try:
            wrong = CAMPAIGNS[name].attempt(int(line), folder)
        except Exception:  # whatever a try raises is what it found, and the next one is tried
            wrong = traceback.format_exc(limit=-4)
        out.write(json.dumps({"wrong": wrong, "note": dict(CAMPAIGNS[name].note)}) + "\n")
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
