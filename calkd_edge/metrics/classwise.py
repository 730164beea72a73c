"""Calibration errors of every class: how the probability of class c compares with the frequency of c."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics.binned import BINS, Scheme, calibration_error_parts
from calkd_edge.metrics.inputs import checked_probabilities


def classwise_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = BINS, scheme: Scheme = "width"
) -> float:
    """The mean over all classes of the calibration error of that class against the rest, in 0..1.

    With equal-width bins this is the static calibration error (SCE); with equal-mass bins the adaptive one
    (ACE), in which a range is weighted by its share of the images: the same as Nixon's unweighted mean unless
    ties make ranges unequal. Classes without an image count: probability given to them is an error too. With
    many classes nearly all probabilities are near 0, so the number is small for every model; compare it only
    at equal C.

    Args:
        probabilities: [N, C], rows summing to 1.
        labels: [N] integers.
        bins: per class.
        scheme: width or mass.

    Raises:
        ValueError: see `inputs.checked_probabilities`.

    Source: Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019 (arXiv 1904.01685).
    """
    values, answers = checked_probabilities(probabilities, labels)
    columns = np.ascontiguousarray(values.T)
    errors = [
        calibration_error_parts(column, answers == c, bins=bins, scheme=scheme).error
        for c, column in enumerate(columns)
    ]
    return float(np.mean(errors))
