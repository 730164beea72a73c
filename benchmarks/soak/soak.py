"""The soak: damage of every kind, tried again and again; what docs/promises.md counts.

    make soak                            everything that the log still lacks
    make soak SOAK="--minutes 30"        what fits into half an hour
    make soak SOAK="--only recipes --tries 500"

Each campaign tries one kind of damage under numbers 0, 1, 2, ...; a number always gives the same damage. The
tries run in a process of their own, so that a hang, a crash or an endless allocation ends that try alone. The
log, log.jsonl beside this file, has a line for each batch; a soak that was cut goes on where the log ends.
"""

from __future__ import annotations

import argparse
import contextlib
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
    parser.add_argument("--worker", nargs=2, metavar=("CAMPAIGN", "FIRST"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen.worker[0], int(chosen.worker[1]))
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
        line = batch(name, done.get(name, 0), most, seconds)
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


def batch(name: str, first: int, most: int, seconds: float) -> dict[str, Any]:
    """Try numbers from `first` on for some seconds; the line for the log."""
    begun, number, wrong = time.monotonic(), first, []
    while number - first < most and time.monotonic() - begun < seconds:
        worker = Worker(name, number)
        try:
            while number - first < most and time.monotonic() - begun < seconds:
                answer = worker.answer(CAMPAIGNS[name].limit_s)
                number += 1
                if answer:
                    wrong.append(f"{number - 1}: {answer}")
                if worker.is_gone:
                    break
        finally:
            worker.end()
    return {
        "campaign": name,
        "first": first,
        "tries": number - first,
        "wrong": wrong,
        "seconds": round(time.monotonic() - begun, 1),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
    }


class Worker:
    """A process that tries one number after the other, and prints a line for each."""

    def __init__(self, name: str, first: int) -> None:
        command = [sys.executable, __file__, "--worker", name, str(first)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.lines: queue.Queue[str] = queue.Queue()
        self.is_gone, self.is_new = False, True
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self.lines.put(line)
        self.lines.put("")

    def answer(self, limit_s: float) -> str:
        """What was wrong with the next try; empty when nothing was."""
        try:
            line = self.lines.get(timeout=limit_s + (START_S if self.is_new else 0.0))
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


def work(name: str, first: int) -> None:
    """Try numbers from `first` on until somebody ends this process."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a try prints is not an answer
    number = first
    folder = Path(tempfile.gettempdir()) / "calkd-soak" / commit() / name
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        answer = CAMPAIGNS[name].attempt(number, folder)
        out.write(json.dumps(answer) + "\n")
        out.flush()
        number += 1


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
