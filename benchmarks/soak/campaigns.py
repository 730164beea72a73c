"""The campaigns of the soak: what each tries under a number, and what it promises.

A campaign is a function of (number, folder) that returns what was wrong, or nothing, and one line here.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import disks
import hostile
import hours
import replies
import signals
import stored
import writers

from calkd_edge.errors import CalkdError

Attempt = Callable[[int, Path], str]


@dataclass(frozen=True)
class Campaign:
    """One kind of damage.

    Attributes:
        promise: what holds, in one sentence.
        attempt: the damage of a number, and what was wrong.
        tries: how often it is meant to be tried; 0 where it is meant to be tried for some time.
        limit_s: seconds after which a try counts as hanging.
        batch_s: seconds for a line of the log.
        block: so many numbers are tried one after the other in one folder.
        hours: how long it is meant to be tried.
        note: facts of the last try, for the log.
    """

    promise: str
    attempt: Attempt
    tries: int
    limit_s: float = 10.0
    batch_s: float = 60.0
    block: int = 1
    hours: float = 0.0
    note: Mapping[str, float] = field(default_factory=dict)

    def share(self, tries: int, seconds: float) -> float:
        """How much of what is meant to be tried has been tried."""
        return seconds / (3600 * self.hours) if self.hours else tries / self.tries


def refused_or_read(kind: str, number: int, folder: Path) -> str:
    """A damaged file of a kind is read, or refused by name; no program of PATH runs."""
    mark = canary(folder)
    (content,) = hostile.mutations(kind, number, 1)
    try:
        hostile.read(kind, content, folder)
    except CalkdError as refused:
        if not refused.message.strip() or not refused.remedy.strip():
            return f"a refusal without reason or remedy: {refused!r}"
    except Exception:  # what the campaign looks for
        return traceback.format_exc(limit=-3)
    return f"a program ran: {mark.read_text()}" if mark.exists() else ""


def canary(folder: Path) -> Path:
    """Programs that leave a mark when they run, first in PATH; returns the mark."""
    programs, mark = folder / "programs", folder / "mark"
    if not programs.is_dir():
        programs.mkdir()
        for name in ("ssh", "sh", "python3", "git", "curl", "evil.sh"):
            path = programs / name
            path.write_text(f"#!/bin/bash\necho {name} >> {mark}\n", encoding="utf-8")
            path.chmod(0o755)
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    return mark


def _inputs(kind: str, tries: int, promise: str) -> Campaign:
    return Campaign(promise, partial(refused_or_read, kind), tries)


REFUSED = "{} is read, or refused by name and with a remedy; nothing is executed"
CAMPAIGNS = {
    "recipes": _inputs("recipe", 20_000, REFUSED.format("A damaged recipe")),
    "inventories": _inputs("inventory", 2_000, REFUSED.format("A damaged inventory of devices")),
    "bundles": _inputs("bundle", 10_000, REFUSED.format("A damaged bundle")),
    "releases": Campaign(
        "The models of a damaged bundle answer as they did, or what differs or is damaged is said",
        partial(refused_or_read, "release"),
        100,
        limit_s=100.0,
    ),
    "predictions": _inputs("npz", 5_000, REFUSED.format("A damaged .npz of predictions")),
    "tables": _inputs("csv", 5_000, REFUSED.format("A damaged .csv of predictions")),
    "models": _inputs("onnx", 5_000, REFUSED.format("A damaged ONNX file")),
    "checkpoints": _inputs("checkpoint", 2_000, REFUSED.format("A damaged checkpoint")),
    "images": _inputs("image", 5_000, REFUSED.format("A damaged image")),
    "baselines": _inputs("benchmark", 2_000, REFUSED.format("A damaged benchmark.json")),
    "manifests": Campaign(
        "One changed byte of any file up to 256 MiB of a published folder, its manifest included, is "
        "noticed before use",
        stored.rotten_folder,
        10_000,
    ),
    "replies": Campaign(
        "A device whose files were changed on their way is named, or what arrived is right",
        replies.changed_reply,
        10_000,
    ),
    "signals": Campaign(
        "A run (of one process, of two, under torchrun, with a board, with rounded training) that is killed, "
        "terminated, hung up or interrupted at any moment, that of its release included, loses nothing that "
        "it published, leaves nothing unfinished that is taken for finished, and ends with the same models",
        signals.signalled_run,
        1_000,
        limit_s=400.0,
        batch_s=600.0,
        block=signals.IN_A_CYCLE,
    ),
    "disks": Campaign(
        "A run whose disk becomes full at any place ends with exit code 6 and the place, leaves nothing "
        "unfinished that is taken for finished, and ends with the same models when there is room again",
        disks.full_disk,
        200,
        limit_s=400.0,
        batch_s=600.0,
        block=disks.IN_A_CYCLE,
    ),
    "writers": Campaign(
        "Eight processes that write one store at once, with collections between them and one of them killed, "
        "lose nothing, leave nothing half, and all end",
        writers.shared_by_eight,
        200,
        limit_s=200.0,
    ),
    "hours": Campaign(
        "A process that runs, benchmarks, evaluates and collects for hours, and commands that do, keep no "
        "more memory, open files, threads, processes or disk than in the first rounds",
        hours.one_round,
        0,
        limit_s=200.0,
        batch_s=1800.0,
        hours=3.0,
        note=hours.NOTE,
    ),
}
