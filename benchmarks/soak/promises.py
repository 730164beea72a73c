"""docs/promises.md from the log of the soak: what holds, how it is tried, how often, how often it failed.

PYTHONPATH=tests/support python benchmarks/soak/promises.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from campaigns import CAMPAIGNS
from soak import LOG, ROOT

PAGE = ROOT / "docs" / "promises.md"
HEAD = """# Promises

What calkd-edge promises about damage, and how often each promise was tried. Each try does one kind of damage
under a number that gives the same damage again: `make soak` runs what the log lacks, and goes on where it was
cut. The tests in `tests/faults/` try the same at a small size in every run of `make test`.

`benchmarks/soak/promises.py` wrote this page from `benchmarks/soak/log.jsonl`, SHA-256
`{digest}`.

| promise | campaign | tries | planned | wrong | tries since | commits |
|---|---|---:|---:|---:|---:|---|
"""
TAIL = """
*Wrong* counts a traceback, a crash, a hang (above {limit:.0f} seconds; a whole run has more), a program that
ran, damage that was not noticed, and a result that differs. What went wrong is written in the log, with the
number that repeats it: `make soak SOAK="--only CAMPAIGN"`. *Tries since* are those after the last batch in
which anything went wrong. Processors: {processors}.
"""


def page(log: Path) -> str:
    """The page for a log."""
    lines = [json.loads(text) for text in log.read_text(encoding="utf-8").splitlines()]
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    rows = "".join(_row(name, [line for line in lines if line["campaign"] == name]) for name in CAMPAIGNS)
    processors = ", ".join(sorted({line["processor"] for line in lines}))
    limit = min(campaign.limit_s for campaign in CAMPAIGNS.values())
    slopes = _slopes([line for line in lines if line["campaign"] == "hours"])
    return HEAD.format(digest=digest) + rows + slopes + TAIL.format(limit=limit, processors=processors)


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    campaign = CAMPAIGNS[name]
    tries, wrong = sum(line["tries"] for line in lines), sum(len(line["wrong"]) for line in lines)
    last = max((place for place, line in enumerate(lines) if line["wrong"]), default=-1)
    since = sum(line["tries"] for line in lines[last + 1 :])
    done, meant = f"{tries:,}", f"{campaign.tries:,}"
    if campaign.hours:
        hours = sum(line["seconds"] for line in lines) / 3600
        done, meant = f"{tries:,} in {hours:.1f} h", f"{campaign.hours:.0f} h"
    commits = list(dict.fromkeys(line["commit"] for line in lines))
    shown = commits[0] if len(commits) == 1 else f"{commits[0]} to {commits[-1]}" if commits else ""
    promise = f"**Not shown yet:** {campaign.promise}" if wrong and not since else campaign.promise
    return f"| {promise} | `{name}` | {done} | {meant} | {wrong:,} | {since:,} | {shown} |\n"


def _slopes(lines: list[dict[str, Any]]) -> str:
    """How much the process of the last long line grew, in a sentence; empty where there is none."""
    notes = [line["note"] for line in lines if "memory_kb" in line.get("note", {})]
    if not notes:
        return ""
    note = max(notes, key=lambda note: note["rounds"])
    grown = ", ".join(
        f"{note[f'{name} in 100 rounds']:+,.1f} {words}"
        for name, words in (("memory_kb", "kB of memory"), ("files", "open files"), ("disk_kb", "kB of disk"))
    )
    return f"\nIn the longest `hours` of one process, {note['rounds']:.0f} rounds, 100 rounds add: {grown}.\n"


if __name__ == "__main__":
    PAGE.write_text(page(LOG), encoding="utf-8")
