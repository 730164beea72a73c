"""What a threshold on confidence is worth on other images than those of the data, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from calkd_edge.records import Corrupted, Unknown
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.report import numbers

OVERCONFIDENT = 0.1
"""Mean confidence that surely lies above top-1 by this much is worth a sentence."""

OFTEN = 0.05
"""Share of unknown images that surely reaches a threshold, from which that is worth a sentence."""


def other_images(evidence: Sequence[Evidence], names: Mapping[int, str]) -> Iterator[str]:
    """Sentences on the file whose confidence holds least on corrupted images, and least on unknown ones.

    Args:
        evidence: all measurements.
        names: of the measurements, by their identity.
    """
    corrupted = [
        (row.mean_confidence - row.top1.value, row, names[id(item.measurement)])
        for item in evidence
        for row in item.corrupted
        if row.mean_confidence - row.top1.high > OVERCONFIDENT
    ]
    if corrupted:
        yield _corrupted(*max(corrupted, key=lambda gap: gap[0])[1:])
    unknown = [(item.unknown, names[id(item.measurement)]) for item in evidence if item.unknown is not None]
    if unknown:
        yield from _unknown(*max(unknown, key=lambda pair: pair[0].mean_confidence))


def _corrupted(row: Corrupted, name: str) -> str:
    return (
        f"{name} is right on {numbers.percent(row.top1.value)} and {numbers.percent(row.mean_confidence)} "
        f"confident on {row.images:,} test images with {row.corruption} of severity {row.severity}: its "
        "thresholds do not hold on such images, whatever the verdict says of clean ones."
    )


def _unknown(unknown: Unknown, name: str) -> Iterator[str]:
    often = [row for row in unknown.thresholds if row.share.low > OFTEN]
    if often:
        row = max(often, key=lambda row: row.threshold)
        share = numbers.estimate(row.share, "share")
        yield (
            f"{name} reaches confidence {row.threshold:g} on {share} of {unknown.images:,} images of no "
            f"class ({unknown.source}): a threshold does not keep these out."
        )
    if unknown.shared_classes:
        yield (
            f"The unknown images name classes that the data have too ({', '.join(unknown.shared_classes)}): "
            "confidence there may be right."
        )
