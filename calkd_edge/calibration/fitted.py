"""What a calibrator returns, and the warnings that every fit owes its reader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.metrics.per_image import nll_per_image
from calkd_edge.records import Affine, FitStatus, FloatArray, IntArray

FEW_IMAGES = 300


@dataclass(frozen=True)
class Fitted:
    """A fitted map and how far to trust it.

    Attributes:
        affine: the identity whenever `status` is neither ok nor constant.
        status: ok; constant (nothing was fitted); separable, anti, flat, extreme: why there is no optimum.
        se: standard error of T (temperature) or of each scale (vector); None where nothing was fitted.
        nll_before: mean NLL without the map, in nats, on the images it was fitted to.
        nll_after: mean NLL with it.
        warnings: sentences for the report.
    """

    affine: Affine
    status: FitStatus
    se: tuple[float, ...] | None
    nll_before: float
    nll_after: float
    warnings: tuple[str, ...]


REASONS = {
    "separable": "no image has a class above its own, so the best temperature is 0",
    "anti": "the model is worse than guessing, so the best temperature is infinite",
    "flat": "every image has the same logits, so a temperature means nothing",
    "extreme": "the best temperature lies outside 1/100 to 100",
}


def refused(status: FitStatus, logits: FloatArray, labels: IntArray) -> Fitted:
    """The identity, with the reason why nothing better could be fitted."""
    nll = float(nll_per_image(logits, labels).mean())
    right = int((np.argmax(logits, axis=1) == labels).sum())
    sentence = f"confidence was left as it is: {REASONS[status]} ({right} of {len(labels)} images right)"
    return Fitted(Affine(scale=(1.0,)), status, None, nll, nll, (sentence,))


def refuse_excluded(logits: FloatArray, method: str) -> None:
    """Refuse logits of -inf, which a map with a number for each class cannot leave out.

    Raises:
        RecipeError: there are any.
    """
    excluded = int((~np.isfinite(logits)).any(axis=1).sum())
    if excluded:
        raise RecipeError(
            f"calibrator {method}: {excluded} rows of logits exclude classes by -inf",
            remedy="Only a temperature can leave them out: calibrator: {name: temperature}",
        )


def cautions(
    logits: FloatArray, labels: IntArray, classes: tuple[str, ...], se: float | None
) -> tuple[str, ...]:
    """What to know of the images a map was fitted to: absent classes, and too few of them."""
    absent = [name for number, name in enumerate(classes) if not np.any(labels == number)]
    found = []
    if absent:
        found.append(f"calibration holds no image of {', '.join(absent)}")
    if len(labels) < FEW_IMAGES:
        error = "" if se is None else f"; the standard error of T is {se:.3f}"
        found.append(f"only {len(labels)} images for calibration{error}")
    return tuple(found)
