"""Calibration errors of every class: how the probability of class c compares with the frequency of c."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics.binned import BINS, Scheme, calibration_error_parts, equal_mass_bins
from calkd_edge.metrics.inputs import Floats, Ints, checked_probabilities
from calkd_edge.metrics.intervals import BinnedError, binned_error
from calkd_edge.metrics.per_image import FloatingArray, SoftmaxFigures

RESAMPLES = 100
_BLOCK_ELEMENTS = 1 << 21
_FEWEST_COLUMNS = 8
_TILE_ROWS = 256


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


class ClassError(NamedTuple):
    """The calibration error of one class: over bins of equal mass with its resamples, and of equal width."""

    equal_mass: BinnedError
    equal_width: float


def class_errors(
    scores: FloatingArray, answers: Ints, figures: SoftmaxFigures, *, bins: int, seed: int
) -> Iterator[ClassError]:
    """The calibration errors of each class in turn; the memory does not grow with the number of classes.

    Args:
        scores: [N, C], checked logits.
        answers: [N], checked labels.
        figures: of these.
        bins: per class.
        seed: of the resampling, which draws for one class after the other.
    """
    generator = np.random.default_rng(seed)
    for c, p in enumerate(_probabilities(scores, figures)):
        is_c = answers == c
        equal_mass = binned_error(
            p, is_c, equal_mass_bins(p, bins), number=bins, resamples=RESAMPLES, generator=generator
        )
        yield ClassError(equal_mass, calibration_error_parts(p, is_c, bins=bins).error)


def _probabilities(scores: FloatingArray, figures: SoftmaxFigures) -> Iterator[Floats]:
    """The probabilities of each class, float64 [N]; columns in blocks, turned in tiles that fit a cache."""
    images, classes = scores.shape
    width = max(_FEWEST_COLUMNS, _BLOCK_ELEMENTS // images)
    for first in range(0, classes, width):
        block = slice(first, min(first + width, classes))
        columns = np.empty((block.stop - first, images))
        for start in range(0, images, _TILE_ROWS):
            rows = slice(start, start + _TILE_ROWS)
            log_p = scores[rows, block] - figures.maximum[rows, None]
            log_p -= figures.log_total[rows, None]
            columns[:, rows] = log_p.T
        yield from np.exp(columns, out=columns)
