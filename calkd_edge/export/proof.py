"""The proof that a calibration stands in a file: what it returned, against the map applied by hand."""

from __future__ import annotations

import numpy as np

from calkd_edge.errors import StageFailed
from calkd_edge.inverse_temperature import best_inverse_temperature
from calkd_edge.records import Calibration, FloatArray, FoldProof, Predictions

FOLD_TOLERANCE = 4e-6
"""Per unit of the largest logit above 1: some 30 roundings of float32."""

PROBABILITY_TOLERANCE = 1e-5
SOFTMAX_TOLERANCE = 1e-3


def prove(
    raw: Predictions,
    folded: Predictions,
    calibration: Calibration,
    *,
    rounding: float = 0.0,
    another_build: bool = False,
) -> FoldProof:
    """What the folded file returned against the affine applied by hand to the unfolded file's logits.

    Args:
        raw: of the unfolded file.
        folded: of the folded one.
        calibration: what was folded.
        rounding: relative rounding of the logits that either file returns, where it is coarser than
            float32's.
        another_build: whether the folded file was compiled anew, with kernels that may round otherwise: the
            difference is then told and not judged; `check_engine` judges.

    Raises:
        StageFailed: they share no image, differ by more than rounding, or an argmax moved by more than that.
    """
    shared, first, second = np.intersect1d(raw.indices, folded.indices, return_indices=True)
    if not len(shared):
        raise StageFailed(
            "the folded and the unfolded file were run on different images: nothing can be proved",
            remedy="Remove the run's folder and start it again.",
        )
    by_hand = calibration.affine.apply(raw.logits[first])
    returned = folded.logits[second].astype(np.float64)
    largest = float(np.abs(by_hand).max())
    tolerance = FOLD_TOLERANCE * max(1.0, largest) + rounding * largest
    difference = float(np.abs(returned - by_hand).max())
    probabilities = np.abs(_softmax(returned) - _softmax(by_hand)).max()
    changed = returned.argmax(1) != by_hand.argmax(1)
    top_two = np.sort(by_hand, axis=1)[:, -2:]
    near = top_two[:, 1] - top_two[:, 0] <= 2 * tolerance
    proof = FoldProof(
        images=len(shared),
        max_logit_difference=difference,
        tolerance=tolerance,
        max_probability_difference=float(probabilities),
        argmax_changes=int((changed & ~near).sum()),
        near_ties=int(near.sum()),
    )
    # Written so that a NaN, which is below no bound, does not pass.
    allowed = PROBABILITY_TOLERANCE + rounding * largest
    within = difference <= tolerance and probabilities <= allowed
    if not another_build and (not within or proof.argmax_changes):
        raise StageFailed(
            f"the calibration inside the file differs from calibrating by hand: {difference:.3g} in logits "
            f"(allowed {tolerance:.3g}), {probabilities:.3g} in probability "
            f"(allowed {allowed:g}), {proof.argmax_changes} of {len(shared)} answers changed",
            remedy="Do not ship it; this is a defect of the runtime or of the fold. Report the model.",
        )
    return proof


def check_engine(folded: Predictions, calibration: Calibration) -> None:
    """Hold an engine against its calibration: fitted again on what it returned, T must be 1.

    Raises:
        StageFailed: it is not, within 2 standard errors, or cannot be fitted where it was before.
    """
    again = best_inverse_temperature(folded.logits, folded.labels)
    if calibration.status != "ok":
        return
    error = again.se_log_beta
    if again.status != "ok" or error is None or abs(np.log(again.beta)) > 2 * error:
        found = f"{1 / again.beta:.3f} ± {2 * error / again.beta:.3f}" if error else again.status
        raise StageFailed(
            f"the engine is not calibrated: fitted on its own answers, T is {found} instead of 1",
            remedy="Two builds on this device answer differently: build with another optimization_level.",
        )


def check_probabilities(found: Predictions) -> None:
    """Hold the returned probabilities against the softmax of the returned logits.

    Raises:
        StageFailed: they differ by more than 1e-3.
    """
    if found.probabilities is None:
        raise StageFailed("the model returned no probabilities", remedy="Export it with calkd-edge.")
    gap = float(np.abs(_softmax(found.logits.astype(np.float64)) - found.probabilities).max())
    if not gap <= SOFTMAX_TOLERANCE:
        raise StageFailed(
            f"the returned probabilities differ from the softmax of the logits by {gap:.3g}",
            remedy="The runtime changes the softmax; use another runtime or precision there.",
        )


def _softmax(logits: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):  # an infinite logit becomes NaN, which is within no tolerance
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return result
