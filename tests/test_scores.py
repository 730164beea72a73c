"""Per-image scores and the best temperature, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, special

from calkd_edge import scores

finite_logits = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.integers(2, 7)), elements=st.floats(-50, 50)
)


def truth(images: int, classes: int, *, spread: float = 2.0, seed: int = 0):
    """Logits whose softmax is the law of the labels: their best temperature is about 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)) * spread
    p = special.softmax(logits, axis=1)
    return logits, (p.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)


def best_by_scipy(logits, labels) -> float:
    """T of smallest NLL by bounded search over log T."""

    def loss(log_t: float) -> float:
        log_p = special.log_softmax(logits.astype(np.float64) / np.exp(log_t), axis=1)
        return -log_p[np.arange(len(labels)), labels].mean()

    grid = np.linspace(-4.6, 4.6, 47)
    near = grid[int(np.argmin([loss(u) for u in grid]))]
    found = optimize.minimize_scalar(
        loss, bounds=(near - 0.2, near + 0.2), method="bounded", options={"xatol": 1e-12}
    )
    return float(np.exp(found.x))


@given(finite_logits)
def test_log_softmax_agrees_with_scipy(logits):
    np.testing.assert_allclose(scores.log_softmax(logits), special.log_softmax(logits, axis=1), atol=1e-10)


def test_a_two_class_row_by_hand():
    logits, labels = np.array([[np.log(3.0), 0.0]]), np.array([1])
    assert scores.nll_per_image(logits, labels)[0] == pytest.approx(np.log(4))
    assert scores.brier_per_image(logits, labels)[0] == pytest.approx(2 * 0.75**2)
    assert scores.confidence(logits)[0] == pytest.approx(0.75)


def test_nll_does_not_underflow_where_probabilities_do():
    assert scores.nll_per_image(np.array([[0.0, -2000.0]]), np.array([1]))[0] == pytest.approx(2000)


def test_ties_go_to_the_first_class_everywhere():
    logits = np.array([[1.0, 1.0, 0.0]] * 3)
    assert scores.top1(logits).tolist() == [0, 0, 0]
    assert scores.label_rank(logits, np.array([0, 1, 2])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("logits", "labels", "what"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "nothing to score"),
        (np.zeros((2, 1)), np.zeros(2, int), "2 classes"),
        (np.zeros((2, 3)), np.zeros(3, int), "must be"),
        (np.zeros((2, 3), np.float16), np.zeros(2, int), "float16"),
        (np.zeros((2, 3)), np.zeros(2), "not integers"),
        (np.zeros((2, 3)), np.array([0, 3]), "3 classes"),
        (np.zeros((2, 3)), np.array([0, -1]), "3 classes"),
        (np.array([[0, np.nan]]), np.array([0]), "NaN or \\+inf in 1 rows, the first is row 0"),
        (np.array([[0, np.inf]]), np.array([0]), "NaN or \\+inf"),
        (np.array([[np.inf, -np.inf]]), np.array([0]), "NaN or \\+inf"),
        (np.array([[0, -np.inf]]), np.array([1]), "label itself is -inf"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(logits, labels, what):
    with pytest.raises(ValueError, match=what):
        scores.nll_per_image(logits, labels)


CASES = {"0.05": 20.0, "0.5": 2.0, "1": 1.0, "2": 0.5, "3.7": 1 / 3.7, "20": 0.05, "59": 1 / 60}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_temperature_is_scipys_whatever_the_scale(name, dtype):
    logits, labels = truth(3000, 10)
    scaled = (logits / CASES[name]).astype(dtype)
    found = scores.best_inverse_temperature(scaled, labels)
    assert found.status == "ok"
    assert 1 / found.beta == pytest.approx(best_by_scipy(scaled, labels), rel=1e-6)
    assert found.nll_after <= found.nll_before + 1e-12


def test_a_class_without_images_changes_nothing_about_the_search():
    logits, labels = truth(800, 5, seed=2)
    kept = labels != 3
    found = scores.best_inverse_temperature(logits[kept], labels[kept])
    assert 1 / found.beta == pytest.approx(best_by_scipy(logits[kept], labels[kept]), rel=1e-6)


def test_masked_classes_contribute_nothing():
    logits, labels = truth(500, 4, seed=3)
    padded = np.concatenate([logits * 3, np.full((500, 2), -np.inf)], axis=1)
    found, plain = (scores.best_inverse_temperature(z, labels) for z in (padded, logits * 3))
    assert found.beta == pytest.approx(plain.beta, rel=1e-9)
    assert found.se_log_beta == pytest.approx(plain.se_log_beta, rel=1e-9)


@pytest.mark.parametrize(
    ("status", "logits", "labels"),
    [
        ("separable", np.eye(3) * 4, np.arange(3)),
        ("anti", -np.eye(3) * 4, np.arange(3)),
        ("flat", np.full((4, 3), 7.0), np.array([0, 1, 2, 0])),
        ("extreme", np.array([[1e-3, 0.0]] * 9 + [[0.0, 1e-3]]), np.zeros(10, int)),
        ("extreme", np.array([[1e4, 0.0]] * 11 + [[0.0, 1e4]] * 10), np.zeros(21, int)),
    ],
)
def test_no_finite_optimum_gives_the_identity_and_its_reason(status, logits, labels):
    found = scores.best_inverse_temperature(logits, labels)
    assert (found.status, found.beta, found.se_log_beta) == (status, 1.0, None)
    assert found.nll_after == found.nll_before


@settings(max_examples=30)
@given(st.floats(0.1, 10), st.floats(-100, 100))
def test_scaling_logits_scales_the_temperature_and_shifting_rows_does_nothing(scale, shift):
    logits, labels = truth(200, 4, seed=5)
    plain = scores.best_inverse_temperature(logits, labels).beta
    found = scores.best_inverse_temperature(logits * scale + shift, labels).beta
    assert found * scale == pytest.approx(plain, rel=1e-6)


def test_the_standard_error_is_the_spread_of_fits_and_halves_with_four_times_the_images():
    fits = [scores.best_inverse_temperature(*truth(600, 10, seed=s)) for s in range(80)]
    spread = np.std([np.log(one.beta) for one in fits])
    assert fits[0].se_log_beta == pytest.approx(spread, rel=0.25)
    logits, labels = truth(600, 10)
    four = scores.best_inverse_temperature(np.tile(logits, (4, 1)), np.tile(labels, 4))
    assert four.beta == pytest.approx(fits[0].beta, rel=1e-9)
    assert four.se_log_beta == pytest.approx(fits[0].se_log_beta / 2, rel=1e-6)


def test_where_the_search_begins_does_not_matter():
    logits, labels = truth(400, 6, seed=9)
    betas = [scores.best_inverse_temperature(logits * 5, labels, start=s).beta for s in (0.011, 1.0, 90.0)]
    assert np.ptp(betas) < 1e-9
