"""Bounds for binned calibration errors: bins are fixed on the sample, sums per bin are resampled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calkd_edge.metrics.intervals.bounds import Bounds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class BinnedError(NamedTuple):
    """A binned calibration error, the sum over bins of |sum of gaps| / N, with the figures that bounds need.

    `over` and `under` are its parts from bins whose confidence lies above and below their accuracy. `floor`
    is its mean under perfect calibration, `floor_sd` the standard deviation there. The resampled means are of
    the two parts.
    """

    over: float
    under: float
    floor: float
    floor_sd: float
    resampled_over: float
    resampled_under: float
    influence: Floats


def binned_error(
    confidence: Floats,
    hit: NDArray[np.bool_],
    bins: Ints,
    *,
    number: int,
    resamples: int,
    generator: np.random.Generator,
) -> BinnedError:
    """Compute a binned error and resample it with its bins fixed: cell counts (bin x hit) are multinomial.

    Within a cell the confidences differ little; their spread enters as a normal term.

    Args:
        confidence: [N] in 0..1.
        hit: [N], whether the event of that confidence occurred.
        bins: [N] in 0..number-1.
        number: of bins.
        resamples: number of multinomial draws.
        generator: of the draws.

    Source: floor: sqrt(2/pi) sum_b sqrt(v_b) / N with v_b = sum p(1-p), each bin's sum being nearly normal.
    """
    n = len(confidence)
    gap = confidence - hit
    cells = 2 * bins + hit
    counts, sums, squares = (
        np.bincount(cells, weights=w, minlength=2 * number) for w in (None, gap, gap * gap)
    )
    per_bin = sums.reshape(number, 2).sum(axis=1)
    spread = np.bincount(bins, weights=confidence * (1 - confidence), minlength=number)
    occupied = counts > 0
    mean = np.divide(sums, counts, out=np.zeros_like(sums), where=occupied)
    variance = np.divide(squares, counts, out=np.zeros_like(sums), where=occupied) - mean**2
    drawn = generator.multinomial(n, counts / n, size=resamples)
    noise = generator.standard_normal((resamples, number))
    within = (drawn * np.maximum(variance, 0.0)).reshape(resamples, number, 2).sum(axis=2)
    resampled = (drawn * mean).reshape(resamples, number, 2).sum(axis=2) + np.sqrt(within) * noise
    return BinnedError(
        over=float(np.maximum(per_bin, 0).sum() / n),
        under=float(np.maximum(-per_bin, 0).sum() / n),
        floor=float(math.sqrt(2 / math.pi) * np.sqrt(spread).sum() / n),
        floor_sd=float(math.sqrt((1 - 2 / math.pi) * spread.sum()) / n),
        resampled_over=float(np.maximum(resampled, 0).sum(axis=1).mean() / n),
        resampled_under=float(np.maximum(-resampled, 0).sum(axis=1).mean() / n),
        influence=np.sign(per_bin)[bins] * gap,
    )


def calibration_error_bounds(value: float, *, floor: float, resampled: float, sd: float) -> Bounds:
    """A binned calibration error with bounds for the population error of the same bins.

    high = 2 value - mean of resamples + 2.0 sd: resampling adds the plug-in bias a second time, so it is
    subtracted once; 1.645 instead of 2.0 covers only .91-.93. low = value - floor - 1.645 sd: the mirror
    image of the upper bound would cover .58, because the plug-in value is never below its noise.

    Args:
        value: the plug-in error.
        floor: its expectation under perfect calibration.
        resampled: mean of the bootstrap.
        sd: standard deviation of the mean of signed gaps.
    """
    high = max(value, 2 * value - resampled + 2.0 * sd)
    return Bounds(value, max(0.0, value - floor - 1.645 * sd), min(1.0, high))


def images_to_decide_ece(
    *, filled_bins: int, variance: float, error: float, floor: float, limit: float
) -> int | None:
    """About how many images an ECE needs to pass `limit` nine times in ten; None if it is not below it.

    1.2 K v / d^2 for a model at its noise floor, whose true error is then assumed to be 0, and 0.65 K v / d^2
    above; d is the distance of the true error from the limit.

    Args:
        filled_bins: K, bins with any image.
        variance: v, the mean of p(1-p) over the measured confidences p.
        error: the measured ECE.
        floor: the expected ECE of perfect calibration on as many images.
        limit: of the upper bound.

    Source: simulations of `calibration_error_bounds` with 15 bins.
    """
    at_the_floor = error <= 1.5 * floor
    room = limit - (0.0 if at_the_floor else error)
    if room <= 0:
        return None
    return math.ceil((1.2 if at_the_floor else 0.65) * filled_bins * variance / room**2)
