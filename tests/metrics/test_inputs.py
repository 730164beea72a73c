"""What the metrics refuse: every one of them, and with a sentence that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge import metrics

PAIRS = {
    "ece": metrics.expected_calibration_error,
    "parts": metrics.calibration_error_parts,
    "rmsce": metrics.root_mean_squared_calibration_error,
    "debiased": metrics.debiased_calibration_error,
    "mce": metrics.maximum_calibration_error,
    "smece": metrics.smooth_calibration_error,
    "ks": metrics.kolmogorov_smirnov_error,
    "auroc": metrics.auroc_of_correctness,
    "aurc": metrics.area_under_risk_coverage,
    "brier": metrics.brier_toplabel,
    "consistency": metrics.consistency,
    "reliability": metrics.reliability_bins,
    "threshold": lambda confidence, correct: metrics.at_threshold(confidence, correct, 0.5),
    "floor": lambda confidence, correct: metrics.noise_floor(confidence),
}
GOOD = np.array([0.2, 0.6, 0.9])
RIGHT = np.array([False, True, True])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (np.array([0.2, np.nan, 0.9]), "row 1"),
        (np.array([3.1, 0.6, -2.0]), "apply softmax"),
        (GOOD.astype(np.float16), "float16"),
        (np.array([1, 0, 1]), "int64"),
        (np.array([]), "no predictions"),
        (GOOD[None, :], r"must both be \[N\]"),
    ],
)
def test_every_metric_refuses_what_is_no_confidence(name, confidence, message):
    correct = np.zeros(confidence.shape, dtype=bool)
    with pytest.raises(ValueError, match=message):
        PAIRS[name](confidence, correct)


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "floor"])
def test_every_metric_refuses_outcomes_that_are_not_bool_or_too_few(name):
    with pytest.raises(ValueError, match="must be bool"):
        PAIRS[name](GOOD, RIGHT.astype(np.int64))
    with pytest.raises(ValueError, match=r"must both be \[N\]"):
        PAIRS[name](GOOD, RIGHT[:2])


def test_a_float32_softmax_that_sums_a_little_above_one_is_taken_as_one():
    confidence = np.array([1.0000001, 0.5], dtype=np.float32)
    assert metrics.expected_calibration_error(confidence, np.array([True, True])) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.array([[2.0, -1.0]]), [0], "apply softmax"),
        (np.array([[0.6, 0.6]]), [0], "sums to 1.2"),
        (np.array([[0.4, 0.6]]), [2], "there are 2 classes"),
        (np.array([[0.4, 0.6]]), [0.0], "not integers"),
        (np.array([0.4, 0.6]), [0, 1], r"must be \[N, C\]"),
    ],
)
def test_class_probabilities_are_held_to_be_probabilities(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.classwise_calibration_error(probabilities, np.asarray(labels))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold):
    with pytest.raises(ValueError, match="must lie in 0..1"):
        metrics.at_threshold(GOOD, RIGHT, threshold)
