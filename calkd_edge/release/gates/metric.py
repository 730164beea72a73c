"""What a gate metric is: a function that reads a value with its bounds, and the limits it can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates.evidence import Evidence

Against = Literal["fp32", "teacher", "baseline"]
Limit = Literal["max", "min", "within"]
Unit = Literal["share", "nats", "divergence", "ms", "bytes", "plain"]
Accuracy = Literal["alone", "beside fp32"]
"""What a metric says of accuracy: that of the file, or only beside the accuracy of fp32's file."""


@dataclass(frozen=True)
class Reading:
    """The value of a metric for one measurement.

    Attributes:
        value: None when nothing was measured.
        low: one-sided lower bound.
        high: one-sided upper bound.
        sample: images or effective runs behind it; 0 where the value is exact.
        why: why it is unmeasured, or why it cannot decide.
        decides: False when the value may be shown but must not decide.
        needed: what would let it decide, where the metric knows that itself.
        more_helps: False where no larger sample could let it decide.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    sample: float = 0.0
    why: str | None = None
    decides: bool = True
    needed: str | None = None
    more_helps: bool = True


def not_measured_at(threshold: float | None, measured: Iterable[float]) -> str:
    """The reason where a figure is known at other thresholds on confidence alone.

    >>> not_measured_at(0.7, [0.5, 0.9])
    'it was not measured at confidence 0.7, only at 0.5, 0.9: evaluate.thresholds'
    """
    others = ", ".join(f"{value:g}" for value in measured)
    return (
        f"it was not measured at confidence {threshold or 0.0:g}{f', only at {others}' if others else ''}: "
        "evaluate.thresholds"
    )


def bound_of(gate: GateSection) -> dict[Limit, float]:
    """The limit of a gate as {"max" | "min" | "within": number}; exactly one entry."""
    limits: dict[Limit, float | None] = {"max": gate.max, "min": gate.min, "within": gate.within}
    return {name: number for name, number in limits.items() if number is not None}


Reader = Callable[[Evidence, Sequence[Evidence], GateSection], Reading]
"""(the judged measurement, all measurements, the gate) -> its reading."""


@dataclass(frozen=True)
class Span:
    """The values that a metric can have; a limit that none or all of them keep decides nothing.

    Attributes:
        low: the least value.
        high: the greatest value.
        reaches_low: whether a measurement can come to exactly `low`, so that `max: low` can be kept.
    """

    low: float = -math.inf
    high: float = math.inf
    reaches_low: bool = True

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"{self.low:g}..{self.high:g}"

    def decides(self, limit: Limit, value: float) -> bool:
        """Whether some value of the metric keeps the limit, and another breaks it."""
        if limit == "min":
            return self.low < value <= self.high
        if limit == "within":
            return 0 < value < self.high
        return self.low <= value < self.high and (self.reaches_low or value > self.low)


@dataclass(frozen=True)
class Metric:
    """A gate metric: how it is read, which limits make sense, and in which unit it is written.

    Attributes:
        read: reads the value.
        limits: which of max, min and within a gate may set.
        unit: of value and limit; a share is 0..1 in recipes and JSON, per cent in sentences.
        meaning: one line for people.
        against: fp32, teacher or baseline (an earlier release) for comparisons.
        threshold: whether the gate must name a confidence threshold.
        of_class: whether the gate must name a class.
        kind: how the sample size that would decide is computed.
        fewest: images below which its value is shown and never decides.
        span: the values that it can have.
        other_images: whether it judges answers to other images than those of the data.
        accuracy: what it says of the answers to test images being right; None for nothing.
    """

    read: Reader
    limits: tuple[Limit, ...]
    unit: Unit
    meaning: str
    against: Against | None = None
    threshold: bool = False
    of_class: bool = False
    kind: Literal["mean", "pair", "ece", "runs", "exact"] = "mean"
    fewest: int = 0
    span: Span = Span()
    other_images: bool = False
    accuracy: Accuracy | None = None

    @property
    def counts_images(self) -> bool:
        """Whether its sample are images, whose answers it judges: not runs, and no exact figure."""
        return self.kind not in ("exact", "runs")
