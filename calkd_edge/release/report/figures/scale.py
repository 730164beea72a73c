"""Scales of axes: which values they span, where their ticks are, and what these say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from calkd_edge.release.report.numbers import plain

MOST_TICKS = 6
LARGEST = 1e12
LOG_FROM = 8.0
"""A scale of times becomes logarithmic where the largest is so many times the smallest."""


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low: the value at its start.
        high: the value at its end, above `low`.
        ticks: values with a label.
        name: of the axis, with the unit.
        text: a tick's label.
        is_log: whether equal distances are equal ratios.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    name: str
    text: Callable[[float], str] = plain
    is_log: bool = False

    def position(self, value: float) -> float:
        """Where a value lies, 0 at the start and 1 at the end."""
        if self.is_log:
            return math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def shares(name: str, *, low: float = 0.0, high: float = 1.0) -> Scale:
    """A scale of shares in per cent; with the default bounds its ticks are the quarters."""
    if (low, high) == (0.0, 1.0):
        return Scale(low, high, (0, 0.25, 0.5, 0.75, 1), f"{name} (%)", _per_cent)
    fitted = spanning([low, high], name)
    return Scale(max(fitted.low, 0.0), min(fitted.high, 1.0), fitted.ticks, f"{name} (%)", _per_cent)


def spanning(
    values: Iterable[float],
    name: str,
    *,
    text: Callable[[float], str] = plain,
    from_zero: bool = False,
    may_be_log: bool = False,
) -> Scale:
    """A scale that spans values, with round ticks inside.

    Args:
        values: some; those that are no numbers or beyond LARGEST are left out.
        name: of the axis, with the unit.
        text: a tick's label.
        from_zero: whether it starts at 0.
        may_be_log: whether it is logarithmic where the values, all above 0, differ by a factor.
    """
    finite = sorted(value for value in values if abs(value) <= LARGEST) or [0.0, 1.0]
    low, high = finite[0], finite[-1]
    if may_be_log and low > 1 / LARGEST and high / low >= LOG_FROM:
        low, high = low / 1.3, high * 1.3
        return Scale(low, high, _log_ticks(low, high), name, text, is_log=True)
    if from_zero:
        low = min(0.0, low)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low if from_zero and low == 0 else low - margin, high + margin
    return Scale(low, high, _ticks(low, high), name, text)


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / MOST_TICKS
    if not 0.0 < rough < math.inf:
        return ()
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(k * step, 12) for k in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Steps of 1, 2 and 5 in each decade; fewer of them over many decades."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades <= 2 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = tuple(round(k * 10.0**p, 12) for p in powers for k in steps)
    return tuple(tick for tick in candidates if low <= tick <= high)


def _per_cent(share: float) -> str:
    return f"{100 * share:.4g}"


def epochs(last: float) -> Scale:
    """A scale of epochs from the first to the last, with whole ticks."""
    high = max(last, 2.0)
    step = max(1, math.ceil(high / MOST_TICKS))
    return Scale(1.0, high, tuple(float(k) for k in range(step, int(high) + 1, step)), "epoch")
