"""Whether a model has learnt anything: its top-1 against always naming the largest class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.records import GateResult, IntArray
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.image_scores import ImageScores
from calkd_edge.release.report.numbers import in_unit

NOTHING = "Nothing was shown"


def shown_nothing(evidence: Sequence[Evidence], names: dict[int, str]) -> Iterator[GateResult]:
    """An undecided result for each shipped file that is not surely better than naming one class.

    The largest class of the test images is named, which no guess at random beats. The teacher is judged too:
    what a student loses against a teacher that knows nothing says nothing.

    Args:
        evidence: all measurements.
        names: of the measurements, by the identity of their evidence.
    """
    for item in evidence:
        m = item.measurement
        if not (m.is_released and m.calibrated) or item.scores is None:
            continue
        share, top1 = largest_class(item.scores.labels), top1_of(item.scores)
        if top1.low > share:
            continue
        images = len(item.scores.labels)
        figures = (
            f"{in_unit(top1.value, 'share')} of {images:,} images, at least {in_unit(top1.low, 'share')}"
        )
        sentence = (
            f"{NOTHING} by {names[id(item)]}: it is right on {figures}, and always naming the largest class "
            f"is right on {in_unit(share, 'share')}: undecided"
        )
        yield GateResult(
            metric="top1",
            measurement=names[id(item)],
            limit=f"above {in_unit(share, 'share')}, the largest class",
            bound={"min": share},
            value=top1.value,
            low=top1.low,
            high=top1.high,
            level=intervals.LEVEL,
            images=images,
            result="undecided",
            sentence=sentence,
        )


def largest_class(labels: IntArray) -> float:
    """The share of the largest class among labels, [N]."""
    return float(np.bincount(labels).max() / len(labels))


def top1_of(scores: ImageScores) -> intervals.Bounds:
    """Top-1 with its exact bounds."""
    return intervals.clopper_pearson(int(scores.right.sum()), len(scores.labels))
