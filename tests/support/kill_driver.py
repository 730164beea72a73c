"""Kill a run again and again while it works, then let it finish, and see that nothing was lost or done twice.

python kill_driver.py --recipe quickstart.yaml [--smoke] --store STORE --out OUT --kills 10 --seed 1

Kills with SIGKILL while teacher, soft-labels, distill, export, predict and report are at work, each at least
once; further kills fall on training after an epoch has ended since the last start, so that there is something
to resume (a smoke run has no second epoch: on export and predict). Kills take the process group, but every
other one of a prediction takes the parent alone, so that an orphaned agent goes on beside the next attempt.
Checks after each kill that every published folder is whole, and at the end that no fingerprint was published
twice. Prints the student's SHA-256; exit 0 or 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calkd_edge.engine.store import Store
from calkd_edge.training.checkpoint import checkpoints

MUST = ("teacher", "soft-labels", "distill", "export", "predict", "report")
TRAINED = ("teacher", "distill")
OFTEN = ("teacher", "distill", "distill", "export", "predict")
OFTEN_IN_SMOKE = ("export", "predict")
"""Kinds that come several times in a run; of the others a smoke run has one each, over in a moment."""

POLL_S = 0.002
STALLED_S = 3600.0


def kind_of(stage: str) -> str:
    """predict-raw-student-int8@local is a predict; soft-labels is itself."""
    return next((kind for kind in MUST if stage == kind or stage.startswith(f"{kind}-")), stage)


@dataclass
class Journal:
    """The events of a store as they come."""

    path: Path
    read_to: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def update(self) -> None:
        """Take in what was written since the last time, whole lines only."""
        if not self.path.is_file():
            return
        with open(self.path, "rb") as journal:
            journal.seek(self.read_to)
            text = journal.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.read_to += len(whole)
        self.events += [json.loads(line) for line in whole.splitlines()]

    def at_work(self, since: int) -> dict[str, Any] | None:
        """The last stage that was started after event number `since` and is not published yet."""
        for place in range(len(self.events) - 1, since - 1, -1):
            event = self.events[place]
            if event["event"] == "published":
                return None
            if event["event"] == "started":
                return event
        return None

    def published(self) -> collections.Counter[str]:
        """How often each fingerprint was published, what was discarded since not counted."""
        counts: collections.Counter[str] = collections.Counter()
        for event in self.events:
            if event["fingerprint"] is not None:
                counts[event["fingerprint"]] += {"published": 1, "discarded": -1}.get(event["event"], 0)
        return counts


class Driver:
    """One run that is killed `kills` times.

    Args:
        command: the command line to run.
        store: its store.
        kills: how many times; the kinds in MUST come first.
        often: the kinds that further kills fall on.
        seed: of the moments.
    """

    def __init__(
        self, command: list[str], store: Path, kills: int, often: tuple[str, ...], seed: int
    ) -> None:
        self.command, self.store, self.draw = command, Store(store), random.Random(seed)
        self.journal = Journal(store / "journal.jsonl")
        self.journal.update()
        self.first_event = len(self.journal.events)
        further = [self.draw.choice(often) for _ in range(kills)]
        self.wanted = collections.Counter([*MUST, "predict", *further][:kills])
        self.hits: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []

    def run(self) -> int:
        """Start, kill, start again until every wanted kill has been made; returns the last exit code."""
        while True:
            with subprocess.Popen(self.command, stdout=sys.stderr, start_new_session=True) as process:
                killed = self._watch(process)
            if not killed:
                return process.returncode
            self._check_store()

    def _watch(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill the process in the first wanted stage it reaches; False when it ended by itself."""
        since, begun = len(self.journal.events), time.monotonic()
        passed_by: str | None = None
        while process.poll() is None:
            self.journal.update()
            event = self.journal.at_work(since)
            if event is not None and event["at"] != passed_by:
                passed_by = event["at"]
                if self.wanted[kind_of(event["stage"])] and self._kill_in(event, process, since):
                    return True
            if time.monotonic() - begun > STALLED_S:
                process.kill()
                self.problems.append(f"no end after {STALLED_S:.0f} s")
            time.sleep(POLL_S)
        return False

    def _kill_in(self, event: dict[str, Any], process: subprocess.Popen[bytes], since: int) -> bool:
        kind, begun = kind_of(event["stage"]), time.monotonic()
        if kind in TRAINED and self.hits[kind]:
            self._wait_for_an_epoch(event, process, since)
        if kind != "report":
            longest = 0.2 if kind in OFTEN_IN_SMOKE else 0.04
            self._wait(self.draw.uniform(0.0, longest), event, process, since)
        if not self._still(event, process, since):
            return False
        alone = kind == "predict" and self.hits[kind] % 2 == 0
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        self.journal.update()
        if self.journal.at_work(since) != event:  # it was published in that very moment
            print(f"killed just after {event['stage']}", flush=True)
            return True
        self.hits[kind] += 1
        self.wanted[kind] -= 1
        whom = "the parent alone" if alone else "the process group"
        after = time.monotonic() - begun
        number = self.hits.total()
        print(f"kill {number}: {event['stage']}, {after:.2f} s after its start, {whom}", flush=True)
        return True

    def _still(self, event: dict[str, Any], process: subprocess.Popen[bytes], since: int) -> bool:
        self.journal.update()
        return process.poll() is None and self.journal.at_work(since) == event

    def _wait(
        self, seconds: float, event: dict[str, Any], process: subprocess.Popen[bytes], since: int
    ) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._still(event, process, since):
            time.sleep(POLL_S)

    def _wait_for_an_epoch(self, event: dict[str, Any], process: subprocess.Popen[bytes], since: int) -> None:
        """Until there is another checkpoint than the newest with which this attempt began."""
        scratch = self.store.root / "work" / event["fingerprint"] / "scratch"
        before = checkpoints(scratch)[:1]
        while self._still(event, process, since):
            if checkpoints(scratch)[:1] != before:
                return
            time.sleep(POLL_S)

    def _check_store(self) -> None:
        for place in self.store.folders():
            self.problems += [f"{place}: {problem}" for problem in self.store.problems(place)]

    def verdict(self, code: int) -> list[str]:
        """Everything that is wrong after the last attempt ended with `code`."""
        self.journal.update()
        self._check_store()
        wrong = list(self.problems)
        if code not in (0, 3, 4):
            wrong.append(f"the last attempt ended with {code}")
        missing = +self.wanted
        wrong += [
            f"{count} kill(s) of {kind} came too late: give it more work" for kind, count in missing.items()
        ]
        twice = [name for name, count in self.journal.published().items() if count > 1]
        wrong += [f"{name} was published twice" for name in twice]
        left = [folder.name for folder in (self.store.root / "work").iterdir()]
        wrong += [f"work/{name} was left behind" for name in left]
        return wrong


def main(argv: list[str]) -> int:
    """Drive one run and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--smoke", action="store_true", help="passed on")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="passed on")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--expect", help="SHA-256 that the student's weights must have")
    chosen = parser.parse_args(argv)
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", chosen.recipe]
    command += ["--store", str(chosen.store), "--out", str(chosen.out)]
    command += [part for override in chosen.overrides for part in ("--set", override)]
    command += ["--smoke"] if chosen.smoke else []
    driver = Driver(
        command, chosen.store, chosen.kills, OFTEN_IN_SMOKE if chosen.smoke else OFTEN, chosen.seed
    )
    wrong = driver.verdict(driver.run())
    weights = None
    if (chosen.out / "report.json").is_file():
        report = json.loads((chosen.out / "report.json").read_text(encoding="utf-8"))
        weights = report["models"]["student"]["weights_sha256"]
    if chosen.expect is not None and weights != chosen.expect:
        wrong.append(f"the student's weights are not {chosen.expect}")
    print(f"kills: {driver.hits.total()} ({dict(driver.hits)})")
    print(f"student weights SHA-256: {weights}")
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
