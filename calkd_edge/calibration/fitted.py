"""The result of a calibrator, the kind of map that it declares, and the warnings of a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.metrics.per_image import nll_per_image
from calkd_edge.records import Affine, AffineKind, FitStatus, FloatArray, IntArray

FEW_IMAGES = 300


@dataclass(frozen=True)
class Fitted:
    """A fitted map and how far to trust it.

    Attributes:
        affine: the identity whenever `status` is neither ok nor constant.
        status: ok; constant (nothing was fitted); separable, anti, flat, extreme: why there is no optimum.
        se: standard error of T (temperature) or of each scale (vector); None where nothing was fitted.
        nll_before: mean NLL without the map, in nats, on the images it was fitted to.
        nll_after: mean NLL with the map.
        warnings: sentences for the report.
    """

    affine: Affine
    status: FitStatus
    se: tuple[float, ...] | None
    nll_before: float
    nll_after: float
    warnings: tuple[str, ...]


Calibrator = TypeVar("Calibrator", bound=Callable[..., Fitted])


def fits(kind: AffineKind) -> Callable[[Calibrator], Calibrator]:
    """Declare which kind of map a calibrator fits: its fits are of this kind, or the identity.

    The plan's notices follow from it. Without a declaration, the kind is known only after the fit.

    Example:
        >>> @fits("temperature")
        ... def halved(logits, labels, classes):
        ...     return Fitted(Affine(scale=(0.5,)), "constant", None, 0.0, 0.0, ())
        >>> fitted_kind(halved)
        'temperature'
    """

    def declare(calibrator: Calibrator) -> Calibrator:
        calibrator.fitted_kind = kind  # type: ignore[attr-defined]  # read by `fitted_kind`
        return calibrator

    return declare


def fitted_kind(calibrator: Callable[..., object]) -> AffineKind | None:
    """The kind of map that a calibrator declares by `fits`; None where it declares none."""
    kind: AffineKind | None = getattr(calibrator, "fitted_kind", None)
    return kind


REASONS = {
    "separable": "in every image the labelled class has the largest logit, so the best temperature is 0",
    "anti": "the model is worse than guessing, so the best temperature is infinite",
    "flat": "every image has equal logits for all classes, so a temperature has no effect",
    "extreme": "the best temperature lies outside 1/100 to 100",
}

EXCLUDED = "all classes but those with equal logits have probability 0, so a temperature has no effect"
"""The reason where rows are flat because classes are excluded by -inf."""


def identity_fit(status: FitStatus, logits: FloatArray, labels: IntArray) -> Fitted:
    """The identity, with the reason why nothing better could be fitted."""
    nll = float(nll_per_image(logits, labels).mean())
    right = int((np.argmax(logits, axis=1) == labels).sum())
    excluded = status == "flat" and not np.isfinite(logits).all()
    reason = EXCLUDED if excluded else REASONS[status]
    sentence = f"confidence was left as it is: {reason} ({right} of {len(labels)} images right)"
    return Fitted(Affine(scale=(1.0,)), status, None, nll, nll, (sentence,))


def refuse_excluded(logits: FloatArray, method: str) -> None:
    """Refuse logits of -inf, which a map with a number for each class cannot exclude.

    Raises:
        RecipeError: some logits are -inf.
    """
    excluded = int((~np.isfinite(logits)).any(axis=1).sum())
    if excluded:
        raise RecipeError(
            f"calibrator {method}: {excluded} rows of logits exclude classes by -inf",
            remedy="Use a temperature, which can exclude them: calibrator: {name: temperature}",
        )


def warnings_for(
    logits: FloatArray, labels: IntArray, classes: tuple[str, ...], se: float | None
) -> tuple[str, ...]:
    """Sentences about the images that a map was fitted to: absent classes, and too few images."""
    absent = [name for number, name in enumerate(classes) if not np.any(labels == number)]
    messages = []
    if absent:
        messages.append(f"calibration holds no image of {', '.join(absent)}")
    if len(labels) < FEW_IMAGES:
        error = "" if se is None else f"; the standard error of T is {se:.3f}"
        messages.append(f"only {len(labels)} images for calibration{error}")
    return tuple(messages)
