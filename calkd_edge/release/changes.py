"""What changed since an earlier release: every figure of every file that both have.

In scope: computing. Out of scope: reading releases, judging, showing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Baseline, Change, Report
from calkd_edge.release.gates.evidence import Evidence, labels_of
from calkd_edge.release.gates.metrics import METRICS


def compared(evidence: Sequence[Evidence], earlier: Report, thresholds: Iterable[float]) -> Baseline:
    """The earlier release, and how each file of the student differs from it.

    Args:
        evidence: of this release, with what it is compared with.
        earlier: the earlier release's report.
        thresholds: on confidence, 0..1.
    """
    return Baseline(
        name=earlier.name,
        date=str(earlier.environment.get("date", "")),
        verdict=earlier.verdict,
        sentence=_sentence(evidence, earlier),
        changes=tuple(_changes(evidence, tuple(thresholds))),
    )


def _sentence(evidence: Sequence[Evidence], earlier: Report) -> str:
    ours = [item for item in evidence if item.measurement.is_released and item.measurement.calibrated]
    both = [item.earlier for item in ours if item.earlier is not None]
    date = str(earlier.environment.get("date", ""))[:10]
    head = f"Compared with the release {earlier.name}{f' of {date}' if date else ''} ({earlier.verdict})"
    if not both:
        return f"{head}: it has none of these files on these devices, so nothing is compared."
    images = max((len(item.scores.indices) for item in both if item.scores is not None), default=0)
    if images:
        tested = max(item.measurement.images for item in ours)
        return f"{head}, image by image, on the {images:,} of {tested:,} test images that both have."
    return (
        f"{head}, which was tested on other images or kept no scores: the figures are compared as those of "
        "independent samples, with wider intervals."
    )


def _changes(evidence: Sequence[Evidence], thresholds: tuple[float, ...]) -> Iterator[Change]:
    names = labels_of([item.measurement for item in evidence])
    for item, name in zip(evidence, names, strict=True):
        m = item.measurement
        if m.model != "student" or not m.calibrated or item.earlier is None:
            continue
        for key, metric in METRICS.items():
            if metric.against != "baseline":
                continue
            for threshold in thresholds if metric.threshold else (None,):
                # Readers look at a gate's threshold alone; every gate has a limit.
                reading = metric.read(item, evidence, GateSection(metric=key, max=1.0, threshold=threshold))
                yield Change(
                    measurement=name,
                    metric=key,
                    threshold=threshold,
                    value=reading.value,
                    low=reading.low,
                    high=reading.high,
                    note=reading.why or "",
                )
