"""What changed since an earlier release: every figure of every file that both have.

In scope: computing. Out of scope: reading releases, judging, showing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Baseline, Change, Report
from calkd_edge.release.gates.baseline_readers import covers_all
from calkd_edge.release.gates.evidence import Earlier, Evidence, labels_of
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


def _sentence(evidence: Sequence[Evidence], report: Report) -> str:
    ours = [item for item in evidence if item.measurement.is_released and item.measurement.calibrated]
    both = [item.earlier for item in ours if item.earlier is not None]
    date = str(report.environment.get("date", ""))[:10]
    head = f"Compared with the release {report.name}{f' of {date}' if date else ''} ({report.verdict})"
    if not both:
        return f"{head}: it has none of these files on these devices, so nothing is compared."
    if any(one.other_task for one in both):
        return f"{head}, which tells other classes apart: what is compared decides nothing."
    paired = [(item, item.earlier) for item in ours if item.earlier and item.earlier.scores]
    if not paired:
        reasons = dict.fromkeys(one.unpaired for one in both if one.unpaired)
        why = " and ".join(reasons) or "no image is paired"
        return (
            f"{head}; {why}: the figures are compared as those of independent samples, with wider intervals."
        )
    item, earlier = max(paired, key=lambda pair: _common(pair[1]))
    copies = ", copies counted once" if earlier.distinct < item.measurement.images else ""
    rest = "" if covers_all(item, earlier) else " ECE and the worst recall are over all images of each."
    return (
        f"{head}, image by image, on the {_common(earlier):,} of {earlier.distinct:,} test images that both "
        f"have{copies}.{rest}"
    )


def _common(earlier: Earlier) -> int:
    return 0 if earlier.scores is None else len(earlier.scores.indices)


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
