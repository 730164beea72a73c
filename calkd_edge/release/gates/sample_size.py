"""How many images or runs would let an undecided gate decide."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Quality
from calkd_edge.release.gates.metric import Metric, Reading

LARGEST_USEFUL = 10_000_000
"""Larger sample sizes are not named."""

_COUNT = re.compile(r"(?:about )?([\d,]+) (.+?) are needed")

SHARES = ("top1", "top5", "agreement")
"""Metrics that are a share of the images, with a lower limit."""


def fewest_images(gate: GateSection, metric: Metric) -> int:
    """Images below which a gate cannot pass whatever is measured: all right, or no disagreement.

    Where all n are right, the exact lower bound is (1 - level)^(1/n); without a disagreement, Tango's upper
    bound is z^2 / (n + z^2).
    """
    if gate.metric in SHARES and gate.min is not None:
        if not 0 < gate.min < 1:
            return metric.fewest
        return max(metric.fewest, math.ceil(math.log(1.0 - intervals.LEVEL) / math.log(gate.min)))
    limit = gate.max if gate.max is not None else gate.within
    if metric.kind != "pair" or limit is None or not 0 < limit < 1:
        return metric.fewest
    z = intervals.normal_quantile(intervals.LEVEL)
    return max(metric.fewest, math.ceil(z**2 * (1 / limit - 1)))


def required_sample(
    reading: Reading, gate: GateSection, metric: Metric, quality: Quality | None
) -> str | None:
    """A sentence with the sample size that would decide; None where it is unknown or absurdly large."""
    if metric.kind == "exact" or not reading.more_helps or reading.value is None:
        return None
    if metric.kind == "pair":
        limit = gate.max if gate.max is not None else gate.within
        fewest = intervals.images_to_decide_zero_disagreements(limit) if limit and 0 < limit < 1 else 0
        if reading.sample < fewest:
            return f"{fewest:,} images are needed even with no disagreement"
    if metric.kind == "ece" and quality is not None and gate.max is not None:
        return _for_ece(reading, gate.max, quality)
    count = _by_scaling(reading, gate)
    if not reading.decides:
        count = max(count or 0, metric.fewest) or None
    if count is None:
        return None
    images = "images" if gate.of_class is None else f"images of {gate.of_class}"
    return _about(count, "effective runs" if metric.kind == "runs" else images)


def largest_samples(needed: Iterable[str]) -> str:
    """Of sentences by `required_sample`, those with the largest sample of each kind; others stay.

    >>> largest_samples(["about 300 images are needed", "1,200 images are needed even with no disagreement"])
    '1,200 images are needed even with no disagreement'
    """
    largest: dict[str, tuple[int, str]] = {}
    for sentence in needed:
        match = _COUNT.match(sentence)
        kind, count = (match[2], int(match[1].replace(",", ""))) if match else (sentence, 0)
        largest[kind] = max(largest.get(kind, (0, sentence)), (count, sentence), key=lambda item: item[0])
    return "; ".join(sentence for _, sentence in largest.values())


def _for_ece(reading: Reading, limit: float, quality: Quality) -> str | None:
    """The rule for a 90 % chance to pass, or what the bounds require where that is more."""
    filled = [(b.images, b.mean_confidence) for b in quality.reliability if b.mean_confidence is not None]
    variance = sum(n * p * (1 - p) for n, p in filled) / max(quality.images, 1)
    counts = (
        _by_scaling(reading, GateSection(metric="ece", max=limit)),
        intervals.images_to_decide_ece(
            filled_bins=len(filled),
            variance=variance,
            error=reading.value or 0.0,
            floor=quality.ece_floor,
            limit=limit,
        ),
    )
    count = max((count for count in counts if count is not None), default=None)
    if count is None:
        return None
    return _about(max(count, intervals.FEWEST_IMAGES_FOR_ECE), "images")


def _by_scaling(reading: Reading, gate: GateSection) -> int | None:
    """Bounds shrink as 1/sqrt(n): the n at which the bound that straddles the limit would reach it."""
    value, low, high = reading.value, reading.low, reading.high
    if value is None or low is None or high is None or reading.sample <= 0:
        return None
    if gate.within is not None:
        inside = abs(value) < gate.within
        room = gate.within - abs(value)
        distance = max(high - value, value - low) if inside else min(high - value, value - low)
    else:
        limit = gate.max if gate.max is not None else gate.min
        room = (limit or 0.0) - value
        distance = high - value if room > 0 else value - low
    if room == 0.0:
        return None
    return math.ceil(reading.sample * max(1.0, (distance / room) ** 2))


def _about(count: int, unit: str) -> str | None:
    if count > LARGEST_USEFUL:
        return None
    digits = max(0, len(str(count)) - 2)
    rounded = math.ceil(count / 10**digits) * 10**digits if count > 1000 else count
    return f"about {rounded:,} {unit} are needed"
