"""Selective prediction: how well confidence separates right from wrong, and figures at a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import intervals
from calkd_edge.metrics.inputs import checked_pairs, reaches
from calkd_edge.records import AtThreshold, Estimate


def auroc_of_correctness(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """The probability that a right prediction is more confident than a wrong one, ties counting half.

    None when all predictions are right or all are wrong: there is no pair to compare.

    Source: Mann and Whitney (1947): the area under the ROC curve is their U over the number of pairs.
    """
    values, outcomes = checked_pairs(confidence, correct)
    right = int(outcomes.sum())
    wrong = len(outcomes) - right
    if not right or not wrong:
        return None
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # of each tied group, the mean of its ranks from 1 on
    return float((rank[group][outcomes].sum() - right * (right + 1) / 2) / (right * wrong))


def area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The mean error rate among the k most confident predictions, over k = 1..N; 0 is best.

    Takes the mean over all orders of tied predictions, so that the order of rows does not matter.

    Source: Geifman et al., "Bias-Reduced Uncertainty Estimation", ICLR 2019 (arXiv 1805.08206).
    """
    values, outcomes = checked_pairs(confidence, correct)
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~outcomes)
    expected = np.repeat(errors / counts, counts)
    return float((np.cumsum(expected) / np.arange(1, len(values) + 1)).mean())


def at_threshold(confidence: ArrayLike, correct: ArrayLike, threshold: float) -> AtThreshold:
    """The share of predictions at or above a threshold (coverage), and the share of those that is right.

    Compared in float32, see `inputs.reaches`. Bounds: exact ones (Clopper and Pearson). The precision is None
    when nothing reaches the threshold.

    Raises:
        ValueError: see `inputs.checked_pairs`; also a threshold outside 0..1.
    """
    values, outcomes = checked_pairs(confidence, correct)
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"a threshold on confidence must lie in 0..1, got {threshold}")
    taken = reaches(values, threshold)
    count = int(taken.sum())
    coverage = intervals.clopper_pearson(count, len(values))
    precision = intervals.clopper_pearson(int(outcomes[taken].sum()), count) if count else None
    return AtThreshold(
        threshold=threshold,
        taken=count,
        coverage=Estimate(**coverage._asdict()),
        precision=None if precision is None else Estimate(**precision._asdict()),
    )


def coverage_curve(confidence: ArrayLike, correct: ArrayLike, *, points: int = 30) -> tuple[AtThreshold, ...]:
    """Figures at thresholds that take ever more predictions, in about equal steps up to all of them.

    Every threshold is a confidence that occurs, so equal confidences are taken together; of few different
    ones there are fewer points.

    Args:
        confidence: [N] in 0..1.
        correct: [N] bool.
        points: at most so many.

    Raises:
        ValueError: see `inputs.checked_pairs`.
    """
    values, outcomes = checked_pairs(confidence, correct)
    ordered = np.sort(values.astype(np.float32))[::-1]  # as they are compared
    ranks = -(-np.arange(1, points + 1) * len(ordered) // points) - 1  # rounded up: the last takes all
    levels = np.unique(ordered[ranks])[::-1]
    return tuple(at_threshold(values, outcomes, float(level)) for level in levels)
