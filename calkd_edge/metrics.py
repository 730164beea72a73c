"""How right a classifier is and how well its confidence says so: one `Quality` per set of images.

In scope: top-1, top-5, NLL, Brier, binned calibration errors and their bounds, the reliability diagram's
bins. Out of scope: fitting what ships, gates, files; torch and onnx. Input is always logits, never
probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calkd_edge import intervals, scores
from calkd_edge.intervals import BinnedError, Bounds
from calkd_edge.records import Estimate, Quality, ReliabilityBin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOPLABEL_RESAMPLES = 1000
CLASSWISE_RESAMPLES = 100
HISTOGRAM_BINS = 20


def quality(logits: ArrayLike, labels: ArrayLike, *, bins: int = 15, seed: int = 0) -> Quality:
    """Every quality figure of one model on one set of images, with bounds.

    top5 is certain (1, 1, 1) with five classes or fewer. ECE and ACE have one-sided bounds for the
    population error of the same bins; at few images they are mostly noise, and `ece_floor` says how much.

    Args:
        logits: [N, C] float32 or float64; -inf marks an excluded class.
        labels: [N].
        bins: equal-width bins of ECE, and equal-mass bins of both ACE.
        seed: of every resampling.

    Raises:
        ValueError: see `scores.checked`; also fewer than 2 images.
    """
    values, answers = scores.checked(logits, labels)
    rank = scores.label_rank(values, answers)
    confidence, hit = scores.confidence(values), rank == 0
    means = intervals.mean_bounds(
        np.stack([scores.nll_per_image(values, answers), scores.brier_per_image(values, answers)]), seed=seed
    )
    equal_width = _problem(confidence, hit, equal_width_bins(confidence, bins), bins, seed)
    equal_mass = _problem(confidence, hit, equal_mass_bins(confidence, bins), bins, seed + 1)
    counts = np.bincount(equal_width_bins(confidence, HISTOGRAM_BINS), minlength=HISTOGRAM_BINS)
    return Quality(
        images=len(answers),
        top1=_estimate(intervals.wilson(int(hit.sum()), len(hit))),
        top5=_top5(rank, classes=values.shape[1]),
        nll=_estimate(means[0], least=0.0),
        brier=_estimate(means[1], least=0.0, most=2.0),
        ece=_error_estimate([equal_width]),
        ece_over=_error_estimate([equal_width], part="over"),
        ece_under=_error_estimate([equal_width], part="under"),
        ace_classwise=_error_estimate(_classwise(values, answers, bins=bins, seed=seed + 2)),
        ace_toplabel=_error_estimate([equal_mass]),
        ece_floor=equal_width.floor,
        temperature_gap=temperature_gap(values, answers, seed=seed),
        mean_confidence=float(confidence.mean()),
        bins=bins,
        reliability=reliability_bins(confidence, hit, bins=bins),
        confidence_histogram=tuple(int(count) for count in counts),
    )


def expected_calibration_error(confidence: Floats, hit: Bools, *, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, in 0..1.

    Bins are (lower, upper], 0 falls into the first; empty bins weigh nothing. Biased upward when images are
    few.

    Args:
        confidence: [N], the top-1 probability of each image.
        hit: [N], whether the top-1 class was the label.
        bins: how many bins.

    Raises:
        ValueError: a confidence outside 0..1.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.
    """
    gaps = np.bincount(equal_width_bins(confidence, bins), weights=confidence - hit, minlength=bins)
    return float(np.abs(gaps).sum() / len(hit))


def noise_floor(confidence: Floats, *, bins: int = 15) -> float:
    """The ECE that a perfectly calibrated model with these confidences shows by chance on this many images.

    sqrt(2/pi) sum_b sqrt(v_b) / N with v_b = sum of p(1-p) in bin b: each bin's gap is nearly normal.
    """
    spread = np.bincount(
        equal_width_bins(confidence, bins), weights=confidence * (1 - confidence), minlength=bins
    )
    return float(np.sqrt(2 / np.pi) * np.sqrt(spread).sum() / len(confidence))


def equal_width_bins(confidence: Floats, bins: int) -> Ints:
    """The bin (lower, upper] of each value among `bins` equal parts of 0..1; 0 is in the first.

    Raises:
        ValueError: a value outside 0..1, beyond rounding.
    """
    if confidence.min() < 0 or confidence.max() > 1 + 1e-9:
        raise ValueError(f"confidences span {confidence.min()}..{confidence.max()}, which is not within 0..1")
    edges = np.linspace(0.0, 1.0, bins + 1, dtype=np.float64)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1).astype(np.int64)


def equal_mass_bins(values: Floats, bins: int) -> Ints:
    """The bin of each value among at most `bins` of equally many images; tied values share one."""
    ordered = np.sort(values)
    cuts = np.linspace(0, len(values), min(bins, len(values)) + 1)[1:-1].round().astype(np.int64)
    return np.searchsorted(ordered[cuts - 1], values, side="left").astype(np.int64)


def reliability_bins(confidence: Floats, hit: Bools, *, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The bins of a reliability diagram, equal width, with Wilson bounds on their accuracy."""
    place = equal_width_bins(confidence, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)
    out = []
    for b in range(bins):
        inside = place == b
        n = int(inside.sum())
        accuracy = intervals.wilson(int(hit[inside].sum()), n) if n else None
        out.append(
            ReliabilityBin(
                low_edge=float(edges[b]),
                high_edge=float(edges[b + 1]),
                images=n,
                mean_confidence=float(confidence[inside].mean()) if n else None,
                accuracy=accuracy and accuracy.value,
                accuracy_low=accuracy and accuracy.low,
                accuracy_high=accuracy and accuracy.high,
            )
        )
    return tuple(out)


def temperature_gap(logits: ArrayLike, labels: ArrayLike, *, folds: int = 5, seed: int = 0) -> float:
    """NLL minus NLL at the best temperature, cross-fitted: what one temperature could still mend, in nats.

    Each fold is scored at the temperature of the others, so noise does not pass for a gain; it may be
    slightly negative. A fold without an optimum is scored as it is.

    Source: Berta et al., arXiv 2501.19195 (the calibration part of a proper score), cross-fitted.
    """
    values, answers = scores.checked(logits, labels)
    folds = min(folds, len(answers))
    if folds < 2:
        return 0.0
    start = scores.best_inverse_temperature(values, answers).beta
    fold = np.random.default_rng(seed).permutation(len(answers)) % folds
    gained = 0.0
    for k in range(folds):
        rest, held = fold != k, fold == k
        beta = scores.best_inverse_temperature(values[rest], answers[rest], start=start).beta
        scaled = np.asarray(values[held], dtype=np.float64) * beta
        before = scores.nll_per_image(values[held], answers[held])
        gained += float((before - scores.nll_per_image(scaled, answers[held])).sum())
    return gained / len(answers)


def _problem(confidence: Floats, hit: Bools, place: Ints, bins: int, seed: int) -> BinnedError:
    return intervals.binned_error(
        confidence,
        hit,
        place,
        number=bins,
        resamples=TOPLABEL_RESAMPLES,
        generator=np.random.default_rng(seed),
    )


def _classwise(values: NDArray[Any], answers: Ints, *, bins: int, seed: int) -> list[BinnedError]:
    """One problem per class: does the probability of class c say how often c is true?

    Nixon et al. (CVPR workshops 2019) average ranges of equal mass unweighted; here a range weighs its
    share of the images, which is the same unless ties make ranges unequal.
    """
    probability = np.ascontiguousarray(np.exp(scores.log_softmax(values)).T)
    generator = np.random.default_rng(seed)
    return [
        intervals.binned_error(
            p,
            answers == c,
            equal_mass_bins(p, bins),
            number=bins,
            resamples=CLASSWISE_RESAMPLES,
            generator=generator,
        )
        for c, p in enumerate(probability)
    ]


def _error_estimate(problems: list[BinnedError], *, part: str = "both") -> Estimate:
    """The mean of binned errors with bounds; for one problem and `part`, its over- or underconfident part."""
    over = float(np.mean([one.over for one in problems]))
    under = float(np.mean([one.under for one in problems]))
    floor = float(np.mean([one.floor for one in problems]))
    again = [
        float(np.mean([one.resampled_over for one in problems])),
        float(np.mean([one.resampled_under for one in problems])),
    ]
    influence = np.mean([one.influence for one in problems], axis=0)
    sd = float(influence.std() / np.sqrt(len(influence)))
    figure = {"both": (over + under, floor, sum(again)), "over": (over, floor / 2, again[0])}
    value, noise, resampled = figure.get(part, (under, floor / 2, again[1]))
    return _estimate(intervals.calibration_error_bounds(value, floor=noise, resampled=resampled, sd=sd))


def _top5(rank: Ints, *, classes: int) -> Estimate:
    if classes <= 5:
        return Estimate(value=1.0, low=1.0, high=1.0)
    return _estimate(intervals.wilson(int((rank < 5).sum()), len(rank)))


def _estimate(bounds: Bounds, *, least: float | None = None, most: float | None = None) -> Estimate:
    low = bounds.low if least is None else max(bounds.low, least)
    high = bounds.high if most is None else min(bounds.high, most)
    return Estimate(value=bounds.value, low=low, high=high, level=intervals.LEVEL)
