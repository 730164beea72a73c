"""How far each file's answers are from those of the same model in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Estimate, ToFp32
from calkd_edge.release.gates.evidence import Evidence, PairedPredictions, paired, same_student_in_fp32
from calkd_edge.release.gates.metric import Reading
from calkd_edge.release.gates.readers import few_images

SEED = 0
"""Of the bootstrap."""


def compared_with_fp32(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The same evidence; the calibrated files in other precisions know how far they are from fp32."""
    return [_compared(item, evidence) for item in evidence]


def _compared(item: Evidence, peers: Sequence[Evidence]) -> Evidence:
    m = item.measurement
    reference = same_student_in_fp32(item, peers) if m.calibrated and m.precision != "fp32" else None
    if reference is None or reference.predictions is None or item.predictions is None:
        return item
    pair = paired(item.predictions, reference.predictions)
    if pair is None:
        return item
    return replace(item, measurement=m.model_copy(update={"to_fp32": to_fp32(pair)}))


def to_fp32(pair: PairedPredictions) -> ToFp32:
    """Agreement and divergence of a candidate from its reference."""
    same = scores.top1(pair.candidate) == scores.top1(pair.reference)
    exact = intervals.clopper_pearson(int(same.sum()), len(same))
    divergence = scores.kl_per_image(pair.candidate, pair.reference)
    kl = None
    if len(divergence) > 1 and np.isfinite(divergence).all():
        bounds = intervals.mean_bounds(divergence, seed=SEED)[0]
        kl = Estimate(value=bounds.value, low=bounds.low, high=bounds.high)
    agreement = Estimate(value=exact.value, low=exact.low, high=exact.high)
    return ToFp32(images=len(same), agreement=agreement, kl=kl)


def kl_to_fp32(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    """Reader of the mean divergence from fp32."""
    measured = item.measurement.to_fp32
    if measured is None or measured.kl is None:
        return Reading(None, why="there are no predictions of fp32 on its device to compare with")
    few = measured.images < intervals.FEWEST_IMAGES_FOR_A_MEAN
    why = few_images(measured.images, intervals.FEWEST_IMAGES_FOR_A_MEAN) if few else None
    return Reading(measured.kl.value, measured.kl.low, measured.kl.high, measured.images, why, not few)
