"""Figures of confidence: by hand, by another road, and by the properties that any set of answers has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.integrate import trapezoid
from sklearn import metrics as sklearn_metrics

from calkd_edge import metrics
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics import selective
from calkd_edge.release.gates.image_scores import ImageScores


def pairs(images: int, *, power: float = 1.0, seed: int = 0):
    """Confidences from .3 to 1, right with the chance confidence ** power."""
    generator = np.random.default_rng(seed)
    confidence = np.sqrt(generator.uniform(0.1, 1, size=images))
    return confidence, generator.random(images) < confidence**power


BY_HAND = (np.array([0.95, 1.0, 0.55, 0.55, 0.1]), np.array([True, False, True, False, True]))


def test_binned_errors_of_five_answers_by_hand():
    """Bins of a fifth: {.1: right}, {.55, .55: one right}, {.95, 1: one right}."""
    gaps = {1: -0.9, 2: (1.1 - 1) / 2, 3: (1.95 - 1) / 2}
    counts = {1: 1, 2: 2, 3: 2}
    error = sum(counts[b] * abs(gaps[b]) for b in gaps) / 5
    parts = metrics.calibration_error_parts(*BY_HAND, bins=5)
    assert parts.error == pytest.approx(error)
    assert parts.under == pytest.approx(0.9 / 5)
    assert parts.over == pytest.approx((0.1 + 0.95) / 5)
    assert metrics.maximum_calibration_error(*BY_HAND, bins=5) == pytest.approx(0.9)
    squares = sum(counts[b] * gaps[b] ** 2 for b in gaps) / 5
    assert metrics.root_mean_squared_calibration_error(*BY_HAND, bins=5) == pytest.approx(np.sqrt(squares))
    debiased = (2 * (gaps[2] ** 2 - 0.25) + 2 * (gaps[3] ** 2 - 0.25)) / 5
    assert debiased < 0
    assert metrics.debiased_calibration_error(*BY_HAND, bins=5, scheme="width") == 0


def test_debiased_error_of_a_bin_that_is_wrong_for_certain_by_hand():
    confidence, correct = np.array([0.9] * 4), np.array([False] * 4)
    assert metrics.debiased_calibration_error(confidence, correct) == pytest.approx(0.9)


def test_debiased_error_is_near_the_truth_where_the_plain_error_is_mostly_chance():
    grid = np.sqrt(np.linspace(0.1, 1, 100_001))
    truth = np.sqrt(np.mean((grid - grid**1.15) ** 2))
    drawn = [pairs(1500, power=1.15, seed=seed) for seed in range(100)]
    plain = [metrics.root_mean_squared_calibration_error(*error, scheme="mass") ** 2 for error in drawn]
    debiased = [metrics.debiased_calibration_error(*error) ** 2 for error in drawn]
    assert np.mean(plain) > 1.2 * truth**2
    assert np.mean(debiased) == pytest.approx(truth**2, rel=0.12)


def smooth_error_by_quadrature(confidence, correct, *, points: int = 6001) -> float:
    """The fixed point with the kernel's images written out and the integral by trapezoids."""
    t = np.linspace(0, 1, points)
    residual = correct - confidence

    def at(bandwidth: float) -> float:
        images = [confidence, -confidence, 2 - confidence, confidence - 2, confidence + 2]
        kernel = sum(stats.norm.pdf(t[:, None], position[None, :], bandwidth) for position in images)
        return float(trapezoid(np.abs(kernel @ residual / len(residual)), t))

    low, high = 1e-3, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle) > middle else (low, middle)
    return 0.5 * (low + high)


@pytest.mark.parametrize("power", [1.0, 1.5, 4.0])
def test_smooth_error_agrees_with_quadrature(power):
    answers = pairs(150, power=power, seed=3)
    assert metrics.smooth_calibration_error(*answers) == pytest.approx(
        smooth_error_by_quadrature(*answers), rel=5e-3
    )


def test_smooth_error_weighs_confidences_of_one_in_full():
    """Half of all wrong at confidence 1: the residuals' mass is -.5, and so is its integral."""
    confidence = np.ones(2000)
    correct = np.arange(2000) % 2 == 0
    assert metrics.smooth_calibration_error(confidence, correct) == pytest.approx(0.5, abs=2e-3)
    saturated = np.clip(pairs(400, seed=5)[0] * 1.5, 0, 1)
    hits = np.random.default_rng(5).random(400) < saturated * 0.9
    assert metrics.smooth_calibration_error(saturated, hits) == pytest.approx(
        smooth_error_by_quadrature(saturated, hits), rel=5e-3
    )


def test_kolmogorov_smirnov_error_by_hand_and_in_any_order():
    confidence, correct = np.array([0.2, 0.6, 0.6, 0.9]), np.array([True, True, False, False])
    drift = [(0.2 - 1) / 4, (0.2 + 1.2 - 2) / 4, (0.2 + 1.2 + 0.9 - 2) / 4]
    result = metrics.kolmogorov_smirnov_error(confidence, correct)
    assert result == pytest.approx(max(map(abs, drift)))
    for order in itertools.permutations(range(4)):
        chosen = list(order)
        assert metrics.kolmogorov_smirnov_error(confidence[chosen], correct[chosen]) == pytest.approx(result)


def test_auroc_agrees_with_scikit_learn_also_with_ties():
    confidence, correct = pairs(400, power=2)
    for values in (confidence, confidence.round(1)):
        expected = sklearn_metrics.roc_auc_score(correct, values)
        assert metrics.auroc_of_correctness(values, correct) == pytest.approx(expected)


@pytest.mark.parametrize("outcome", [True, False])
def test_auroc_of_answers_that_are_all_alike_is_none(outcome):
    assert metrics.auroc_of_correctness(np.array([0.2, 0.9]), np.array([outcome, outcome])) is None


def test_aurc_is_the_mean_over_every_order_of_tied_answers():
    confidence, correct = np.array([0.9, 0.5, 0.5, 0.5]), np.array([True, False, True, False])
    result = []
    for tied in itertools.permutations([1, 2, 3]):
        wrong = ~correct[[0, *tied]]
        result.append(np.mean(np.cumsum(wrong) / np.arange(1, 5)))
    assert metrics.area_under_risk_coverage(confidence, correct) == pytest.approx(np.mean(result))


def test_aurc_without_ties_is_the_mean_error_rate_of_the_most_confident():
    confidence, correct = pairs(300, power=3)
    wrong = ~correct[np.argsort(-confidence)]
    expected = np.mean([wrong[:k].mean() for k in range(1, 301)])
    assert metrics.area_under_risk_coverage(confidence, correct) == pytest.approx(expected)


def test_a_threshold_has_coverage_and_precision():
    confidence, correct = np.array([0.8, 0.79, 0.95, 0.3]), np.array([True, True, False, True])
    result = metrics.at_threshold(confidence, correct, 0.8)
    assert (result.taken, result.coverage.value, result.precision.value) == (2, 0.5, 0.5)
    assert result.precision.low < 0.5 < result.precision.high
    assert metrics.at_threshold(confidence, correct, 0.99).precision is None


@pytest.mark.parametrize("threshold", [0.9, 0.95, 0.7, 0.001])
def test_a_threshold_takes_the_float32_probability_that_it_is_itself(threshold):
    """Half of all thresholds are rounded down in float32, as the probabilities of a file are."""
    same, correct = np.full(400, threshold, np.float32), np.ones(400, bool)
    below = np.nextafter(same, np.float32(0))
    for confidence, taken in ((same, 400), (same.astype(np.float64), 400), (below, 0)):
        assert metrics.at_threshold(confidence, correct, threshold).taken == taken
    scores = ImageScores(*(np.arange(400),) * 3, same, same, same)
    assert scores.reaches(threshold).all()
    points = selective.coverage_curve(np.r_[same, below], np.r_[correct, correct], points=2)
    assert [point.taken for point in points] == [400, 800]


def test_classwise_error_of_one_class_that_is_never_true_counts():
    probabilities = np.array([[0.7, 0.2, 0.1]] * 10)
    labels = np.array([0] * 7 + [1] * 3)
    expected = (0.0 + 0.1 + 0.1) / 3
    assert metrics.classwise_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_quality_holds_the_figures_that_the_functions_give():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(900, 6)) * 3
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    logits *= 1.6
    result = metrics.quality(logits, labels, thresholds=(0.6,))
    confidence, correct = scores.confidence(logits), scores.top1(logits) == labels
    p = special.softmax(logits, axis=1)
    assert result.confidence.ece_classwise == pytest.approx(metrics.classwise_calibration_error(p, labels))
    by_mass = metrics.classwise_calibration_error(p, labels, scheme="mass")
    assert result.ace_classwise.value == pytest.approx(by_mass)
    assert result.confidence.smece == metrics.smooth_calibration_error(confidence, correct)
    assert result.confidence.mce == metrics.maximum_calibration_error(confidence, correct)
    assert result.confidence.ks == metrics.kolmogorov_smirnov_error(confidence, correct)
    assert result.confidence.nll_refinement == pytest.approx(result.nll.value - result.temperature_gap)
    assert result.ece_floor == pytest.approx(metrics.noise_floor(confidence))
    assert result.thresholds == (metrics.at_threshold(confidence, correct, 0.6),)


def test_a_users_threshold_reads_the_probabilities_that_the_model_returned():
    logits, labels = np.log(np.array([[0.79, 0.21], [0.9, 0.1]])), np.array([0, 0])
    returned = np.array([[0.81, 0.19], [0.9, 0.1]], dtype=np.float32)
    assert metrics.quality(logits, labels, thresholds=(0.8,)).thresholds[0].taken == 1
    result = metrics.quality(logits, labels, thresholds=(0.8,), probabilities=returned)
    assert result.thresholds[0].taken == 2


answers = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0, 1), min_size=n, max_size=n).map(np.array),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
    )
)
EQUAL_WIDTH = (
    metrics.expected_calibration_error,
    metrics.root_mean_squared_calibration_error,
    metrics.maximum_calibration_error,
)


@given(answers)
def test_properties_of_errors_that_hold_for_any_answers(drawn):
    confidence, correct = drawn
    bias = abs(confidence.mean() - correct.mean())
    parts = metrics.calibration_error_parts(confidence, correct)
    assert parts.error == pytest.approx(parts.over + parts.under)
    assert bias <= parts.error + 1e-12
    assert parts.error <= metrics.root_mean_squared_calibration_error(confidence, correct) + 1e-12
    assert parts.error <= metrics.maximum_calibration_error(confidence, correct) + 1e-12
    assert metrics.expected_calibration_error(confidence, correct, bins=5) <= parts.error + 1e-12
    assert bias <= metrics.kolmogorov_smirnov_error(confidence, correct) + 1e-12
    assert bias <= metrics.smooth_calibration_error(confidence, correct) + 1e-9
    for error in EQUAL_WIDTH:
        assert error(np.tile(confidence, 2), np.tile(correct, 2)) == pytest.approx(
            error(confidence, correct), abs=1e-12
        )


@given(answers, st.integers(0, 1000))
def test_no_figure_depends_on_the_order_of_rows(drawn, seed):
    confidence, correct = drawn
    order = np.random.default_rng(seed).permutation(len(confidence))
    for figure in (
        *EQUAL_WIDTH,
        metrics.debiased_calibration_error,
        metrics.smooth_calibration_error,
        metrics.kolmogorov_smirnov_error,
        metrics.area_under_risk_coverage,
        metrics.auroc_of_correctness,
        metrics.brier_toplabel,
    ):
        expected = figure(confidence, correct)
        result = figure(confidence[order], correct[order])
        assert result == (expected if expected is None else pytest.approx(expected, abs=1e-9))


def test_duplicating_the_data_changes_the_debiased_error_alone_as_it_must():
    confidence, correct = pairs(300, power=1.5)
    once = metrics.debiased_calibration_error(confidence, correct)
    twice = metrics.debiased_calibration_error(np.tile(confidence, 2), np.tile(correct, 2))
    assert twice > once > 0


def test_a_coverage_curve_ends_with_all_predictions_and_its_points_are_those_of_thresholds():
    generator = np.random.default_rng(0)
    confidence = generator.random(1000)
    correct = generator.random(1000) < confidence
    points = selective.coverage_curve(confidence, correct, points=20)
    assert [point.taken for point in points] == list(range(50, 1001, 50))
    assert points[-1].precision.value == correct.mean()
    assert points[3] == selective.at_threshold(confidence, correct, points[3].threshold)
    assert len(selective.coverage_curve(np.full(9, 0.5), np.ones(9, dtype=bool))) == 1
