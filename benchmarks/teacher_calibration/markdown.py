"""Pieces of a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intervals_over_runs import Interval


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def shown(interval: Interval | None, unit: str = "points") -> str:
    """A figure with its bounds; shares as points of a hundred."""
    if interval is None:
        return "runs missing"
    if not interval.is_computable:
        return "not computable"
    factor, digits = (100, 2) if unit == "points" else (1, 3)
    value, low, high = (
        f"{factor * each:+.{digits}f}" for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def per_cent(value: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * value:.{digits}f}"
