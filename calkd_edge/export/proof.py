"""The proof that a calibration stands in a file: what it returned, against the map applied by hand."""

from __future__ import annotations

import numpy as np

from calkd_edge.errors import StageFailed
from calkd_edge.records import Calibration, FloatArray, FoldProof, Predictions

FOLD_TOLERANCE = 4e-6
"""Per unit of the largest logit above 1: some 30 roundings of float32."""

PROBABILITY_TOLERANCE = 1e-5
BUILD_SLOPE, BUILD_AGREEMENT = 0.02, 0.98
"""Of two engines built from one file: how far the slope between their logits may be from 1 (a calibration
that is missing or stands twice moves it by far more), and the share of images they must agree on."""

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
        another_build: whether the folded file was compiled anew, with kernels that may round otherwise. It
            then passes when the returned logits are the ones by hand times 1, within BUILD_SLOPE, and name
            the same class for all but a few images.

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
    if another_build:
        sound = bool(np.isfinite(returned).all()) and _agrees_roughly(returned, by_hand)
    else:
        sound = within and not proof.argmax_changes
    if not sound:
        raise StageFailed(
            f"the calibration inside the file differs from calibrating by hand: {difference:.3g} in logits "
            f"(allowed {tolerance:.3g}), {probabilities:.3g} in probability "
            f"(allowed {allowed:g}), {proof.argmax_changes} of {len(shared)} answers changed",
            remedy="Do not ship it; this is a defect of the runtime or of the fold. Report the model.",
        )
    return proof


def _agrees_roughly(returned: FloatArray, by_hand: FloatArray) -> bool:
    """Whether two builds of one file say the same but for their kernels' rounding, calibration included."""
    own, wanted = (one - one.mean(axis=1, keepdims=True) for one in (returned, by_hand))
    slope = float((own * wanted).sum() / max(float((wanted * wanted).sum()), 1e-300))
    agree = float((returned.argmax(1) == by_hand.argmax(1)).mean())
    return abs(slope - 1.0) <= BUILD_SLOPE and agree >= BUILD_AGREEMENT


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
