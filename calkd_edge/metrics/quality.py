"""All figures of a classifier on a set of images, from logits and labels, as one `Quality`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import binned, intervals, selective, unbinned
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.binned import equal_mass_bins, equal_width_bins
from calkd_edge.metrics.by_class import (
    balanced_accuracy,
    confusion_matrix,
    precisions,
    recalls,
    worst_recall,
)
from calkd_edge.metrics.chance import consistency
from calkd_edge.metrics.classwise import ClassError, class_errors
from calkd_edge.metrics.inputs import Bools, Floats, Ints, checked_pairs
from calkd_edge.metrics.intervals import BinnedError, Bounds
from calkd_edge.metrics.proper import ProperSplit, brier_toplabel, split_of
from calkd_edge.records import ClassFigures, ConfidenceFigures, Confused, Estimate, Quality

TOPLABEL_RESAMPLES = 1000
HISTOGRAM_BINS = 20
CONFUSED = 50
"""So many kinds of wrong answers are kept."""


def quality(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = binned.BINS,
    seed: int = 0,
    thresholds: Sequence[float] = (),
    probabilities: ArrayLike | None = None,
    by_class: bool = True,
) -> Quality:
    """Compute every quality figure of a model on a set of images, with bounds.

    top5 is certain (1, 1, 1) with five classes or fewer. ECE and ACE have one-sided bounds for the
    population error of the same bins; with few images they are mostly noise, whose size is `ece_floor`.

    Args:
        logits: [N, C] float32 or float64; -inf marks an excluded class.
        labels: [N].
        bins: equal-width bins of ECE, and equal-mass bins of both ACE.
        seed: of every resampling.
        thresholds: on confidence; for each, the coverage and the precision are computed.
        probabilities: [N, C] as the model returned them, which is what a user's threshold reads; those of the
            logits when None.
        by_class: whether the figures of each class are kept.

    Raises:
        ValueError: see `scores.checked`; also fewer than 2 images.
    """
    values, answers = scores.checked(logits, labels)
    rank, figures = scores.label_rank(values, answers), scores.softmax_figures(values, answers)
    confidence, hit = figures.confidence, rank == 0
    confusion = confusion_matrix(scores.top1(values), answers, classes=values.shape[1])
    means = intervals.mean_bounds(np.stack([figures.nll, figures.brier]), seed=seed)
    equal_width = _problem(confidence, hit, equal_width_bins(confidence, bins), bins, seed)
    equal_mass = _problem(confidence, hit, equal_mass_bins(confidence, bins), bins, seed + 1)
    classwise = _classwise(class_errors(values, answers, figures, bins=bins, seed=seed + 2), by_class)
    split = split_of(values, answers, figures.nll, seed=seed)
    returned = confidence if probabilities is None else np.asarray(probabilities).max(axis=1)
    counts = np.bincount(equal_width_bins(confidence, HISTOGRAM_BINS), minlength=HISTOGRAM_BINS)
    return Quality(
        images=len(answers),
        top1=_estimate(intervals.clopper_pearson(int(hit.sum()), len(hit))),
        top5=_top5(rank, classes=values.shape[1]),
        nll=_estimate(means[0], least=0.0),
        brier=_estimate(means[1], least=0.0, most=2.0),
        ece=_error_estimate(equal_width),
        ece_over=_error_estimate(equal_width, part="over"),
        ece_under=_error_estimate(equal_width, part="under"),
        ace_classwise=classwise.error,
        ace_toplabel=_error_estimate(equal_mass),
        ece_floor=equal_width.floor,
        temperature_gap=split.calibration,
        mean_confidence=float(confidence.mean()),
        confidence=_figures(confidence, hit, classwise.equal_width, split, bins=bins, seed=seed + 3),
        thresholds=tuple(selective.at_threshold(returned, hit, threshold) for threshold in thresholds),
        bins=bins,
        reliability=binned.reliability_bins(confidence, hit, bins=bins),
        confidence_histogram=tuple(int(count) for count in counts),
        balanced_accuracy=_known(balanced_accuracy(confusion)),
        worst_recall=_known(worst_recall(confusion)),
        by_class=tuple(_by_class(confusion, classwise.of_class)) if by_class else (),
        confused=tuple(_confused(confusion)) if by_class else (),
    )


def ece_with_bounds(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = binned.BINS, seed: int = 0
) -> Estimate:
    """ECE of equal-width bins with bounds for the population error of the same bins.

    Args:
        confidence: [N] in 0..1.
        correct: [N] bool.
        bins: their number.
        seed: of the resampling.

    Raises:
        ValueError: see `inputs.checked_pairs`.
    """
    values, hit = checked_pairs(confidence, correct)
    return _error_estimate(_problem(values, hit, equal_width_bins(values, bins), bins, seed))


def _figures(
    confidence: Floats, hit: Bools, static: float, split: ProperSplit, *, bins: int, seed: int
) -> ConfidenceFigures:
    by_chance = consistency(confidence, hit, bins=bins, seed=seed)
    return ConfidenceFigures(
        ece_floor_95=by_chance.floor_95,
        consistency_p=by_chance.p_value,
        ece_classwise=static,
        rmsce=binned.root_mean_squared_calibration_error(confidence, hit, bins=bins),
        l2_debiased=binned.debiased_calibration_error(confidence, hit, bins=bins),
        mce=binned.maximum_calibration_error(confidence, hit, bins=bins),
        smece=unbinned.smooth_calibration_error(confidence, hit),
        ks=unbinned.kolmogorov_smirnov_error(confidence, hit),
        brier_toplabel=brier_toplabel(confidence, hit),
        nll_refinement=split.refinement,
        auroc=selective.auroc_of_correctness(confidence, hit),
        aurc=selective.area_under_risk_coverage(confidence, hit),
    )


def _problem(confidence: Floats, hit: Bools, bin_of: Ints, bins: int, seed: int) -> BinnedError:
    return intervals.binned_error(
        confidence,
        hit,
        bin_of,
        number=bins,
        resamples=TOPLABEL_RESAMPLES,
        generator=np.random.default_rng(seed),
    )


class _Classwise(NamedTuple):
    """The mean over classes of the equal-mass error, that of each class, and the mean equal-width error."""

    error: Estimate
    of_class: list[Estimate]
    equal_width: float


def _classwise(errors: Iterable[ClassError], by_class: bool) -> _Classwise:
    """Of errors that are read once; the influence of an image, [N], is summed over classes, not kept."""
    kept, of_class, widths, influence = [], [], [], np.zeros(1)
    for error in errors:
        influence = influence + error.equal_mass.influence
        kept.append(error.equal_mass[:-1])
        widths.append(error.equal_width)
        if by_class:
            of_class.append(_error_estimate(error.equal_mass))
    over, under, floor, floor_sd, resampled_over, resampled_under = np.mean(np.array(kept).T.copy(), axis=1)
    mean = BinnedError(over, under, floor, floor_sd, resampled_over, resampled_under, influence / len(kept))
    return _Classwise(_error_estimate(mean), of_class, float(np.mean(widths)))


def _by_class(confusion: Ints, errors: Sequence[Estimate]) -> Iterator[ClassFigures]:
    shares = zip(recalls(confusion), precisions(confusion), errors, strict=True)
    for label, (recall, precision, error) in enumerate(shares):
        yield ClassFigures(
            label=label,
            images=int(confusion[label].sum()),
            answered=int(confusion[:, label].sum()),
            recall=_known(recall),
            precision=_known(precision),
            calibration_error=error,
        )


def _confused(confusion: Ints) -> Iterator[Confused]:
    """The most frequent wrong answers; equal ones in the order of the classes."""
    wrong = confusion - np.diag(confusion.diagonal())
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]:
        label, answer = (int(k) for k in np.unravel_index(cell, wrong.shape))
        if wrong[label, answer] == 0:
            return
        yield Confused(label=label, answer=answer, images=int(wrong[label, answer]))


def _known(bounds: Bounds | None) -> Estimate | None:
    return None if bounds is None else _estimate(bounds)


def _error_estimate(problem: BinnedError, *, part: Literal["both", "over", "under"] = "both") -> Estimate:
    """A binned error with bounds, or its over- or underconfident `part`."""
    sd = float(problem.influence.std() / np.sqrt(len(problem.influence)))
    value, noise, resampled = {
        "both": (
            problem.over + problem.under,
            problem.floor,
            problem.resampled_over + problem.resampled_under,
        ),
        "over": (problem.over, problem.floor / 2, problem.resampled_over),
        "under": (problem.under, problem.floor / 2, problem.resampled_under),
    }[part]
    return _estimate(intervals.calibration_error_bounds(value, floor=noise, resampled=resampled, sd=sd))


def _top5(rank: Ints, *, classes: int) -> Estimate:
    if classes <= 5:
        return Estimate(value=1.0, low=1.0, high=1.0)
    return _estimate(intervals.clopper_pearson(int((rank < 5).sum()), len(rank)))


def _estimate(bounds: Bounds, *, least: float | None = None, most: float | None = None) -> Estimate:
    low = bounds.low if least is None else max(bounds.low, least)
    high = bounds.high if most is None else min(bounds.high, most)
    return Estimate(value=bounds.value, low=low, high=high, level=intervals.LEVEL)
