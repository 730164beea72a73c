"""What a precision did to confidence: against fp32 on the same images, uncalibrated, and calibrated twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import BoolArray, Drift, Estimate, FloatArray, Predictions, Shift, ThresholdShift
from calkd_edge.release.gates.evidence import (
    Evidence,
    Pair,
    labels_of,
    paired,
    same_student_in_fp32,
    taken,
    uncalibrated,
)

SEED = 0


def drift(evidence: Sequence[Evidence], thresholds: Iterable[float]) -> tuple[Drift, ...]:
    """Every calibrated precision of the student that has an fp32 beside it, with its predictions.

    Args:
        evidence: all measurements, uncalibrated rows too.
        thresholds: on confidence.
    """
    asked = tuple(thresholds)
    names = labels_of([one.measurement for one in evidence])
    found = []
    for own, name in zip(evidence, names, strict=True):
        m = own.measurement
        if m.model != "student" or not m.calibrated or m.precision == "fp32":
            continue
        pairs = _pairs(own, evidence)
        shifts = tuple(_shift(how, pair, asked) for how, pair in pairs.items() if len(pair.labels) > 1)
        if shifts:
            found.append(Drift(measurement=name, images=len(pairs["own"].labels), shifts=shifts))
    return tuple(found)


def _pairs(own: Evidence, peers: Sequence[Evidence]) -> dict[str, Pair]:
    """The precision and fp32 on their common images, by how both are calibrated."""
    fp32 = same_student_in_fp32(own, peers)
    if fp32 is None:
        return {}
    raw, raw_fp32 = uncalibrated(own, peers), uncalibrated(fp32, peers)
    asked = {"none": (raw, raw_fp32), "own": (own.predictions, fp32.predictions)}
    fitted = fp32.measurement.calibration
    if raw is not None and fitted is not None:
        carried = Predictions(fitted.affine.apply(raw.logits), raw.labels, raw.indices)
        asked["of_fp32"] = (carried, fp32.predictions)
    found = {}
    for how in ("none", "of_fp32", "own"):
        mine, reference = asked.get(how, (None, None))
        pair = paired(mine, reference) if mine is not None and reference is not None else None
        if pair is not None:
            found[how] = pair
    return found if "own" in found else {}


def _shift(how: str, pair: Pair, thresholds: Sequence[float]) -> Shift:
    own, reference = (scores.nll_per_image(logits, pair.labels) for logits in (pair.own, pair.reference))
    (rise,) = intervals.mean_bounds(own - reference, seed=SEED)
    return Shift.model_validate(
        {
            "calibration": how,
            "nll": Estimate(**rise._asdict()),
            "thresholds": tuple(_at(pair, threshold) for threshold in thresholds),
        }
    )


def _at(pair: Pair, threshold: float) -> ThresholdShift:
    own, reference = taken(pair, threshold)
    only_own, only_reference = int((own & ~reference).sum()), int((reference & ~own).sum())
    coverage = intervals.tango(only_own, only_reference, len(own))
    precision = intervals.share_shift(
        (reference, own), (_right(pair.reference, pair), _right(pair.own, pair))
    )
    return ThresholdShift(
        threshold=threshold,
        coverage=Estimate(**coverage._asdict()),
        precision=None if precision is None else Estimate(**precision._asdict()),
    )


def _right(logits: FloatArray, pair: Pair) -> BoolArray:
    right: BoolArray = scores.top1(logits) == pair.labels
    return right
