"""The best temperature of a set of logits: scipy's, whatever the case, and the reason where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from calkd_edge.metrics.inverse_temperature import (
    best_inverse_temperature,
    inverse_temperatures_without,
)


def truth(images: int, classes: int, *, spread: float = 2.0, seed: int = 0):
    """Logits whose softmax is the law of the labels: their best temperature is about 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)) * spread
    p = special.softmax(logits, axis=1)
    return logits, (p.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)


def best_by_scipy(logits, labels) -> float:
    """T of smallest NLL: the root of its derivative in 1/T, written out with scipy's softmax."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(z), z, 0.0)
    label_logits = z[np.arange(len(labels)), labels]

    def slope(log_beta: float) -> float:
        p = special.softmax(np.exp(log_beta) * z, axis=1)
        return float(((p * finite).sum(axis=1) - label_logits).mean())

    edge = np.log(100.0)
    return float(np.exp(-optimize.brentq(slope, -edge, edge, xtol=1e-14, rtol=1e-14)))


def flipped(labels, classes: int, share: float, seed: int = 1):
    """Labels of which a share is drawn again."""
    generator = np.random.default_rng(seed)
    redrawn = generator.random(len(labels)) < share
    return np.where(redrawn, generator.integers(0, classes, len(labels)), labels)


def problems():
    """Forty of them, by name: logits, labels, and the status that is right."""
    for classes in (2, 3, 10, 100):
        logits, labels = truth(2000, classes, seed=classes)
        for expected_status in (0.05, 0.5, 1.0, 2.0, 20.0):
            yield f"{classes} classes, T {expected_status}", logits * expected_status, labels, "ok"
    logits, labels = truth(3000, 10)
    yield "float32", (logits * 3.7).astype(np.float32), labels, "ok"
    yield "float16", (logits * 3.7).astype(np.float16), labels, "ok"
    yield "saturated", logits * 60, labels, "ok"
    yield "saturated in float32", (logits * 60).astype(np.float32), labels, "ok"
    yield "one class absent", logits[labels != 3], labels[labels != 3], "ok"
    yield "all classes but two absent", logits[labels < 2], labels[labels < 2], "ok"
    masked = np.concatenate([logits * 3, np.full((3000, 2), -np.inf)], axis=1)
    yield "two classes at -inf", masked, labels, "ok"
    ragged = np.where(np.random.default_rng(5).random(logits.shape) < 0.3, -np.inf, logits)
    ragged[np.arange(3000), labels] = logits[np.arange(3000), labels]
    yield "other classes at -inf in each row", ragged, labels, "ok"
    yield "rows far from zero", logits + 1e4, labels, "ok"
    yield "nearly random labels", logits * 2, flipped(labels, 10, 0.9), "ok"
    yield "outliers of 1e4", np.where(np.arange(3000)[:, None] == 7, logits * 1e4, logits), labels, "ok"
    yield "half the rows constant", np.where(np.arange(3000)[:, None] % 2, 1.0, logits), labels, "ok"
    wrong_once = flipped(logits.argmax(axis=1), 10, 0.001)
    yield "nearly separable", logits, wrong_once, "ok"
    yield "separable", logits, logits.argmax(axis=1), "separable"
    yield "separable with ties", np.array([[1.0, 1.0, 0.0]] * 4), np.array([0, 1, 0, 1]), "separable"
    yield "anti-calibrated", logits, logits.argmin(axis=1), "anti"
    yield "worse than guessing", -logits, labels, "anti"
    yield "flat", np.full((4, 3), 7.0), np.array([0, 1, 2, 0]), "flat"
    yield "T below 1/100", np.array([[1e-3, 0.0]] * 9 + [[0.0, 1e-3]]), np.zeros(10, int), "extreme"
    yield "T above 100", np.array([[1e4, 0.0]] * 11 + [[0.0, 1e4]] * 10), np.zeros(21, int), "extreme"


PROBLEMS = {name: case for name, *case in problems()}


def test_there_are_forty_problems():
    assert len(PROBLEMS) == 40


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_best_temperature_is_scipys_or_there_is_none_for_the_right_reason(name):
    logits, labels, status = PROBLEMS[name]
    solution = best_inverse_temperature(logits, labels)
    assert solution.status == status
    if status == "ok":
        assert 1 / solution.beta == pytest.approx(best_by_scipy(logits, labels), rel=1e-6)
        assert solution.nll_after <= solution.nll_before + 1e-12
    else:
        assert (solution.beta, solution.se_log_beta) == (1.0, None)
        assert solution.nll_after == solution.nll_before


def test_masked_classes_contribute_nothing():
    logits, labels = truth(500, 4, seed=3)
    padded = np.concatenate([logits * 3, np.full((500, 2), -np.inf)], axis=1)
    solution, plain = (best_inverse_temperature(z, labels) for z in (padded, logits * 3))
    assert solution.beta == pytest.approx(plain.beta, rel=1e-9)
    assert solution.se_log_beta == pytest.approx(plain.se_log_beta, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_many_rows_on_disk_are_fitted_in_four_passes_and_as_exactly(tmp_path, dtype):
    """Above the limits from which a sample leads the way and threads share the rows."""
    logits, labels = truth(100_000, 100, seed=11)
    np.save(tmp_path / "logits.npy", (logits * 2.5).astype(dtype))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    solution = best_inverse_temperature(mapped, labels)
    assert solution.passes <= 4
    assert 1 / solution.beta == pytest.approx(best_by_scipy(mapped, labels), rel=1e-6)
    assert solution == best_inverse_temperature(mapped, labels)


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [(90_001, np.nan, "the first is row 90001"), (70_000, np.inf, "the first is row 70000")],
)
def test_a_bad_value_far_down_is_found_by_its_row(row, value, message):
    logits = np.zeros((100_000, 100), dtype=np.float16)
    logits[:, 0] = 1
    logits[row, 5] = value
    with pytest.raises(ValueError, match=message):
        best_inverse_temperature(logits, np.zeros(100_000, dtype=int))


def test_a_label_that_its_row_excludes_is_refused():
    with pytest.raises(ValueError, match="label itself is -inf"):
        best_inverse_temperature(np.array([[0.0, -np.inf], [0.0, 1.0]]), np.array([1, 0]))


@settings(max_examples=30)
@given(st.floats(0.1, 10), st.floats(-100, 100))
def test_scaling_logits_scales_the_temperature_and_shifting_rows_does_nothing(scale, shift):
    logits, labels = truth(200, 4, seed=5)
    plain = best_inverse_temperature(logits, labels).beta
    solution = best_inverse_temperature(logits * scale + shift, labels).beta
    assert solution * scale == pytest.approx(plain, rel=1e-6)


def test_the_standard_error_is_the_spread_of_fits_and_halves_with_four_times_the_images():
    fits = [best_inverse_temperature(*truth(600, 10, seed=s)) for s in range(80)]
    spread = np.std([np.log(fit.beta) for fit in fits])
    assert fits[0].se_log_beta == pytest.approx(spread, rel=0.25)
    logits, labels = truth(600, 10)
    four = best_inverse_temperature(np.tile(logits, (4, 1)), np.tile(labels, 4))
    assert four.beta == pytest.approx(fits[0].beta, rel=1e-9)
    assert four.se_log_beta == pytest.approx(fits[0].se_log_beta / 2, rel=1e-6)


def test_where_the_search_begins_does_not_matter():
    logits, labels = truth(400, 6, seed=9)
    betas = [best_inverse_temperature(logits * 5, labels, start=s).beta for s in (0.011, 1.0, 90.0)]
    assert np.ptp(betas) < 1e-9


@pytest.mark.parametrize("images", [1000, 90_000])
def test_leaving_sets_out_is_to_the_bit_a_fit_of_a_copy_of_the_rest(images):
    """Below and above the limit from which threads share the rows; some classes are excluded in some rows."""
    logits, labels = truth(images, 100, seed=4)
    values = (logits * 2.5).astype(np.float32)
    values[::7, :3] = -np.inf
    values[np.arange(images), labels] = logits[np.arange(images), labels] * 2.5
    fold = np.random.default_rng(0).permutation(images) % 3
    held = [np.flatnonzero(fold == k) for k in range(3)]
    start = best_inverse_temperature(values, labels).beta
    rests = [fold != k for k in range(3)]
    expected = [best_inverse_temperature(values[r], labels[r], start=start).beta for r in rests]
    assert inverse_temperatures_without(values, labels, held) == expected


def test_leaving_out_the_only_wrong_image_leaves_no_temperature():
    logits = np.array([[2.0, 0.0]] * 9 + [[0.0, 1.0]])
    assert inverse_temperatures_without(logits, np.zeros(10, int), [np.array([9])]) == [1.0]
