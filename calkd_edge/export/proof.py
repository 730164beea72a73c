"""The proof that a file applies its calibration: its outputs compared with the map applied in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calkd_edge.errors import StageFailed
from calkd_edge.export.comparison import compare_logits
from calkd_edge.records import Calibration, FloatArray, FoldProof, Predictions

FOLD_TOLERANCE = 4e-6
"""Per unit of the largest logit above 1: some 30 roundings of float32."""

PROBABILITY_TOLERANCE = 1e-5
BUILD_SLOPE, BUILD_AGREEMENT = 0.02, 0.98
"""Of two engines built from one file: how far the slope between their logits may be from 1 (a calibration
that is missing or applied twice changes it by far more), and the share of images they must agree on."""

SOFTMAX_TOLERANCE = 1e-3

UNIT_ROUNDOFF = {"f16": 2.0**-11, "bf16": 2.0**-8}
"""Of a runtime that was asked to compute coarser than float32; its record names it `inference_precision`."""

ROUNDINGS = 4
"""Of a last layer that is computed in another precision: its weights, its features, its sum, its result."""

NETWORK_ROUNDINGS = 32
"""Likewise of all layers, one after the other."""


def roundoff_of(session_options: Mapping[str, object]) -> float:
    """Relative rounding of what a runtime computes by these options; 0 where it is float32's.

    Args:
        session_options: as the runtime recorded them.
    """
    return UNIT_ROUNDOFF.get(str(session_options.get("inference_precision")), 0.0)


def prove(
    raw: Predictions,
    folded: Predictions,
    calibration: Calibration,
    *,
    rounding: float = 0.0,
    another_build: bool = False,
) -> FoldProof:
    """Compare the logits of the folded file with the map applied to the logits of the unfolded file.

    Args:
        raw: predictions of the unfolded file.
        folded: predictions of the folded file.
        calibration: the map that was folded.
        rounding: relative rounding of the logits that either file returns, where it is coarser than
            float32's.
        another_build: whether the folded file was compiled again, with kernels that may round differently. It
            then passes when the slope between the logits is 1, within BUILD_SLOPE, and both predict the same
            class for all but a few images.

    Raises:
        StageFailed: they share no image, differ by more than rounding, or predict different classes.
    """
    shared, first, second = np.intersect1d(raw.indices, folded.indices, return_indices=True)
    if not len(shared):
        raise StageFailed(
            "the folded and the unfolded file were run on different images: nothing can be proved",
            remedy="Remove the run's folder and start it again.",
        )
    expected = calibration.affine.apply(raw.logits[first])
    returned = folded.logits[second].astype(np.float64)
    compared = compare_logits(returned, expected)
    tolerance = FOLD_TOLERANCE * max(1.0, compared.largest) + rounding * compared.largest
    probabilities = float(np.abs(_softmax(returned) - _softmax(expected)).max())
    proof = FoldProof(
        images=len(shared),
        max_logit_difference=compared.max_difference,
        tolerance=tolerance,
        max_probability_difference=probabilities,
        argmax_changes=compared.changed(2 * tolerance),
        near_ties=compared.near_ties(2 * tolerance),
    )
    # Written so that a NaN, which is below no bound, does not pass.
    allowed = PROBABILITY_TOLERANCE + rounding * compared.largest
    if another_build:
        same_slope = abs(compared.slope - 1.0) <= BUILD_SLOPE
        passes = compared.is_finite and same_slope and compared.agreement >= BUILD_AGREEMENT
    else:
        within = proof.max_logit_difference <= tolerance and probabilities <= allowed
        passes = within and not proof.argmax_changes
    if not passes:
        raise StageFailed(
            "the outputs of the calibrated file differ from its calibration applied in numpy: "
            f"{proof.max_logit_difference:.3g} in logits (allowed {tolerance:.3g}), {probabilities:.3g} in "
            f"probability (allowed {allowed:g}), {proof.argmax_changes} of {len(shared)} predicted classes "
            "changed",
            remedy="Do not ship it; this is a defect of the runtime or of the fold. Report the model.",
        )
    return proof


def check_probabilities(predictions: Predictions, *, roundoff: float = 0.0) -> None:
    """Compare the returned probabilities with the softmax of the returned logits.

    Args:
        predictions: with probabilities.
        roundoff: relative rounding of the runtime's numbers, where it is coarser than float32's.

    Raises:
        StageFailed: they differ by more than 1e-3 and the rounding of a logit.
    """
    if predictions.probabilities is None:
        raise StageFailed("the model returned no probabilities", remedy="Export it with calkd-edge.")
    expected = _softmax(predictions.logits.astype(np.float64))
    gap = float(np.abs(expected - predictions.probabilities).max())
    largest = max(1.0, float(np.abs(predictions.logits).max()))
    if not gap <= SOFTMAX_TOLERANCE + roundoff * largest:
        raise StageFailed(
            f"the returned probabilities differ from the softmax of the logits by {gap:.3g}",
            remedy="Use another runtime or precision on that device: this one changes the softmax.",
        )


def _softmax(logits: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):  # an infinite logit becomes NaN, which is within no tolerance
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return result
