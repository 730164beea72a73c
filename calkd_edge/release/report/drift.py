"""How a precision changes confidence: against fp32 on the same images, under three ways of calibrating."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import BoolArray, Drift, Estimate, FloatArray, Predictions, Shift, ThresholdShift
from calkd_edge.release.gates.evidence import (
    Evidence,
    PairedPredictions,
    images_above,
    labels_of,
    paired,
    same_student_in_fp32,
    uncalibrated,
)

SEED = 0
"""Of every bootstrap."""

CalibratedHow = Literal["none", "of_fp32", "own"]
_Key = tuple[str, CalibratedHow]


def drift(evidence: Sequence[Evidence], thresholds: Iterable[float]) -> tuple[Drift, ...]:
    """The drift of every calibrated precision of the student that was predicted beside its fp32.

    Args:
        evidence: all measurements, uncalibrated rows too.
        thresholds: on confidence, 0..1.
    """
    levels = tuple(thresholds)
    names = labels_of([item.measurement for item in evidence])
    pairs = {
        name: named
        for item, name in zip(evidence, names, strict=True)
        if _drifts(item) and (named := _pairs(item, evidence))
    }
    rises = {(name, how): _nll_rise(pair) for name, named in pairs.items() for how, pair in named.items()}
    bounds = _bounds_of_means(rises)
    return tuple(
        Drift(
            measurement=name,
            images=len(named["own"].labels),
            shifts=tuple(
                Shift(
                    calibration=how,
                    nll=Estimate(**bounds[name, how]._asdict()),
                    thresholds=tuple(_threshold_shift(pair, level) for level in levels),
                )
                for how, pair in named.items()
            ),
        )
        for name, named in pairs.items()
    )


def _drifts(item: Evidence) -> bool:
    m = item.measurement
    return m.model == "student" and m.calibrated and m.precision != "fp32"


def _pairs(item: Evidence, peers: Sequence[Evidence]) -> dict[CalibratedHow, PairedPredictions]:
    """The precision and fp32 on their common images, two or more, by how both are calibrated."""
    fp32 = same_student_in_fp32(item, peers)
    if fp32 is None:
        return {}
    raw, raw_fp32 = uncalibrated(item, peers), uncalibrated(fp32, peers)
    carried = None
    calibration = fp32.measurement.calibration
    if raw is not None and calibration is not None:
        carried = Predictions(calibration.affine.apply(raw.logits), raw.labels, raw.indices)
    candidates: tuple[tuple[CalibratedHow, Predictions | None, Predictions | None], ...] = (
        ("none", raw, raw_fp32),
        ("of_fp32", carried, fp32.predictions),
        ("own", item.predictions, fp32.predictions),
    )
    pairs: dict[CalibratedHow, PairedPredictions] = {}
    for how, candidate, reference in candidates:
        pair = paired(candidate, reference) if candidate is not None and reference is not None else None
        if pair is not None and len(pair.labels) > 1:
            pairs[how] = pair
    return pairs if "own" in pairs else {}


def _nll_rise(pair: PairedPredictions) -> FloatArray:
    """NLL of the candidate minus that of the reference, [N], in nats."""
    reference = scores.nll_per_image(pair.reference, pair.labels)
    return scores.nll_per_image(pair.candidate, pair.labels) - reference


def _bounds_of_means(rises: Mapping[_Key, FloatArray]) -> dict[_Key, intervals.Bounds]:
    """The mean of each with its bounds; those of as many images share their resamples."""
    bounds: dict[_Key, intervals.Bounds] = {}
    for images in {len(rise) for rise in rises.values()}:
        keys = [key for key, rise in rises.items() if len(rise) == images]
        rows = intervals.mean_bounds([rises[key] for key in keys], seed=SEED)
        bounds.update(zip(keys, rows, strict=True))
    return bounds


def _threshold_shift(pair: PairedPredictions, threshold: float) -> ThresholdShift:
    candidate, reference = images_above(pair, threshold)
    only_candidate = int((candidate & ~reference).sum())
    only_reference = int((reference & ~candidate).sum())
    coverage = intervals.tango(only_candidate, only_reference, len(candidate))
    precision = intervals.share_shift(
        (reference, candidate), (_right(pair.reference, pair), _right(pair.candidate, pair))
    )
    return ThresholdShift(
        threshold=threshold,
        coverage=Estimate(**coverage._asdict()),
        precision=None if precision is None else Estimate(**precision._asdict()),
    )


def _right(logits: FloatArray, pair: PairedPredictions) -> BoolArray:
    right: BoolArray = scores.top1(logits) == pair.labels
    return right
