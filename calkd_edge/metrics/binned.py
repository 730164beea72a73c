"""Calibration errors over bins of confidence, such as ECE, from one confidence and outcome per prediction.

All sums are float64, and bins are fixed before anything is summed. All errors except the debiased one are
biased upward when predictions are few.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import intervals
from calkd_edge.metrics.inputs import Floats, Ints, checked_pairs
from calkd_edge.records import ReliabilityBin

Scheme = Literal["width", "mass"]
BINS = 15
_FEW_CUTS = 31
"""Up to so many, comparing with each in turn is faster than a binary search for each value."""


def equal_width_bins(confidence: Floats, bins: int) -> Ints:
    """The bin (lower, upper] of each value among `bins` equal parts of 0..1; 0 is in the first bin.

    Raises:
        ValueError: a value outside 0..1, beyond rounding.
    """
    if confidence.min() < 0 or confidence.max() > 1 + 1e-9:
        raise ValueError(f"confidences span {confidence.min()}..{confidence.max()}, which is not within 0..1")
    return _exceeded(np.linspace(0.0, 1.0, bins + 1, dtype=np.float64)[1:-1], confidence)


def equal_mass_bins(values: Floats, bins: int) -> Ints:
    """The bin of each value among at most `bins` of equally many predictions; tied values share a bin."""
    ordered = np.sort(values)
    cuts = np.linspace(0, len(values), min(bins, len(values)) + 1)[1:-1].round().astype(np.int64)
    return _exceeded(ordered[cuts - 1], values)


def _exceeded(cuts: Floats, values: Floats) -> Ints:
    """How many of the ascending `cuts` each value exceeds, [N]; as `searchsorted` from the left."""
    if len(cuts) > _FEW_CUTS:
        return np.searchsorted(cuts, values, side="left").astype(np.int64)
    count = np.zeros(len(values), dtype=np.uint8)
    for cut in cuts:
        count += values > cut
    return count.astype(np.int64)


class Parts(NamedTuple):
    """ECE and its parts: bins whose confidence is above their accuracy, and below."""

    error: float
    over: float
    under: float


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, scheme: Scheme = "width"
) -> float:
    """Mean gap between confidence and accuracy over bins, in 0..1.

    Equal-width bins are (lower, upper], 0 falls into the first; equal-mass bins hold equally many predictions
    except for ties, which share a bin. Empty bins have no weight. Biased upward when predictions are few:
    compare only at equal N and bins.

    Args:
        confidence: [N], the probability of each predicted class (after softmax).
        correct: [N] bool, whether it was the label.
        bins: number of bins.
        scheme: width or mass.

    Raises:
        ValueError: see `inputs.checked_pairs`.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3; equal mass: Nguyen and
    O'Connor, EMNLP 2015.
    """
    return calibration_error_parts(confidence, correct, bins=bins, scheme=scheme).error


def calibration_error_parts(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, scheme: Scheme = "width"
) -> Parts:
    """The expected calibration error with its overconfident and underconfident parts, which sum to it."""
    values, outcomes = checked_pairs(confidence, correct)
    bin_of = (equal_width_bins if scheme == "width" else equal_mass_bins)(values, bins)
    gaps = np.bincount(bin_of, weights=values - outcomes, minlength=bins)
    over = float(np.maximum(gaps, 0.0).sum() / len(values))
    under = float(np.maximum(-gaps, 0.0).sum() / len(values))
    return Parts(over + under, over, under)


def root_mean_squared_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, scheme: Scheme = "width"
) -> float:
    """The root of the mean squared gap between confidence and accuracy over bins, in 0..1.

    Never below ECE, and more biased when predictions are few.

    Source: Kumar et al., "Verified Uncertainty Calibration", NeurIPS 2019 (arXiv 1909.10155), definition 2.1.
    """
    tally = _tally(confidence, correct, bins, scheme)
    filled = tally.counts > 0
    return float(np.sqrt((tally.gaps[filled] ** 2 / tally.counts[filled]).sum() / tally.total))


def debiased_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, scheme: Scheme = "mass"
) -> float:
    """The root of the mean squared gap over bins, less what the variance of accuracy alone would show.

    Subtracts accuracy (1 - accuracy) / (n - 1) in each bin; a bin with one prediction has no estimate of its
    variance and counts as 0. A sum below 0 is 0. Duplicating the data changes the result.

    Source: Kumar et al., NeurIPS 2019 (arXiv 1909.10155), definition 4.1 and its plug-in; equal mass after
    Roelofs et al., AISTATS 2022 (arXiv 2012.08668).
    """
    tally = _tally(confidence, correct, bins, scheme)
    many = tally.counts > 1
    counts, accuracy = tally.counts[many], tally.hits[many] / tally.counts[many]
    squares = (tally.gaps[many] / counts) ** 2 - accuracy * (1 - accuracy) / (counts - 1)
    return float(np.sqrt(max(0.0, (counts * squares).sum() / tally.total)))


def maximum_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """The largest gap between confidence and accuracy in any equal-width bin, in 0..1.

    A single bin with three predictions can decide it: do not use it in a gate.

    Source: Naeini et al., AAAI 2015.
    """
    tally = _tally(confidence, correct, bins, "width")
    filled = tally.counts > 0
    return float((np.abs(tally.gaps[filled]) / tally.counts[filled]).max())


def noise_floor(confidence: ArrayLike, *, bins: int = BINS) -> float:
    """The expected ECE of perfect calibration with these confidences: chance on this many predictions.

    sqrt(2/pi) sum_b sqrt(v_b) / N with v_b = sum of p(1-p) in bin b: each bin's gap is nearly normal.
    """
    values, _ = checked_pairs(confidence, np.zeros(np.shape(confidence), dtype=np.bool_))
    spread = np.bincount(equal_width_bins(values, bins), weights=values * (1 - values), minlength=bins)
    return float(np.sqrt(2 / np.pi) * np.sqrt(spread).sum() / len(values))


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of a reliability diagram, equal width, with exact bounds on their accuracy."""
    values, outcomes = checked_pairs(confidence, correct)
    bin_of = equal_width_bins(values, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = []
    for number in range(bins):
        inside = bin_of == number
        images = int(inside.sum())
        accuracy = intervals.clopper_pearson(int(outcomes[inside].sum()), images) if images else None
        rows.append(
            ReliabilityBin(
                low_edge=float(edges[number]),
                high_edge=float(edges[number + 1]),
                images=images,
                mean_confidence=float(values[inside].mean()) if images else None,
                accuracy=accuracy and accuracy.value,
                accuracy_low=accuracy and accuracy.low,
                accuracy_high=accuracy and accuracy.high,
            )
        )
    return tuple(rows)


class _Tally(NamedTuple):
    """By bin: the number of predictions, of right ones, and the sum of confidence - correct."""

    counts: Floats
    hits: Floats
    gaps: Floats
    total: int


def _tally(confidence: ArrayLike, correct: ArrayLike, bins: int, scheme: Scheme) -> _Tally:
    values, outcomes = checked_pairs(confidence, correct)
    bin_of = (equal_width_bins if scheme == "width" else equal_mass_bins)(values, bins)
    counts, hits, gaps = (
        np.bincount(bin_of, weights=weights, minlength=bins).astype(np.float64)
        for weights in (None, outcomes.astype(np.float64), values - outcomes)
    )
    return _Tally(counts, hits, gaps, len(values))
