"""Calibrators: against scipy's optima, their statuses, their standard errors, and what they warn of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.affine import affine
from calkd_edge.calibration.bias import bias
from calkd_edge.calibration.constant import constant
from calkd_edge.calibration.temperature import temperature
from calkd_edge.calibration.vector import vector
from calkd_edge.errors import RecipeError

CLASSES = tuple(f"c{number}" for number in range(6))


def drawn(images: int, *, classes: int = 6, sharp: float = 1.8, seed: int = 0):
    """Logits whose best temperature is about `sharp`, float32, and labels drawn from the law."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)) * 2
    p = special.softmax(logits, axis=1)
    labels = (p.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return (logits * sharp).astype(np.float32), labels


def nll(logits, labels) -> float:
    return float(-special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 6.0), st.integers(2, 6))
def test_temperature_is_the_minimum_that_scipy_finds(seed, sharp, classes):
    logits, labels = drawn(400, classes=classes, sharp=sharp, seed=seed)
    fit = temperature(logits, labels, CLASSES[:classes])
    assert fit.status == "ok"
    scores = logits.astype(np.float64)
    best = optimize.minimize_scalar(
        lambda log_t: nll(scores / np.exp(log_t), labels),
        bounds=(np.log(sharp) - 1.5, np.log(sharp) + 1.5),
        method="bounded",
        options={"xatol": 1e-12},
    )
    # A minimum is known to the square root of the machine's precision; its value to the precision.
    assert fit.affine.temperature == pytest.approx(np.exp(best.x), rel=1e-6)
    assert fit.nll_after <= best.fun + 1e-12
    assert fit.nll_after == pytest.approx(nll(fit.affine.apply(logits), labels), abs=1e-12)
    assert fit.nll_before == pytest.approx(nll(scores, labels), abs=1e-12)


def test_standard_error_of_the_temperature_is_the_bootstraps():
    logits, labels = drawn(1500)
    fit = temperature(logits, labels, CLASSES)
    generator = np.random.default_rng(1)
    resampled = []
    for _ in range(200):
        rows = generator.integers(0, len(labels), len(labels))
        resampled.append(temperature(logits[rows], labels[rows], CLASSES).affine.temperature)
    assert fit.se[0] == pytest.approx(np.std(resampled), rel=0.2)


def test_standard_errors_of_the_scales_are_the_bootstraps():
    logits, labels = drawn(2500, classes=3)
    fit = vector(logits, labels, CLASSES[:3], ridge=0.001)
    generator = np.random.default_rng(1)
    resampled = []
    for _ in range(120):
        rows = generator.integers(0, len(labels), len(labels))
        resampled.append(vector(logits[rows], labels[rows], CLASSES[:3], ridge=0.001).affine.scale)
    np.testing.assert_allclose(fit.se, np.std(resampled, axis=0), rtol=0.25)


@pytest.mark.parametrize("calibrator", [temperature, vector, affine, bias])
@pytest.mark.parametrize(
    ("status", "logits", "labels"),
    [
        ("separable", np.eye(6)[[0, 1, 2, 3]] * 3, [0, 1, 2, 3]),
        ("anti", np.eye(6)[[0, 1, 2, 3]] * 3, [1, 2, 3, 0]),
        ("flat", np.full((4, 6), 2.5), [0, 1, 2, 3]),
        ("extreme", np.eye(6)[[0, 1, 2, 3]] * 1e4, [0, 1, 2, 0]),
    ],
)
def test_a_fit_without_an_optimum_is_the_identity_with_the_reason(calibrator, status, logits, labels):
    fit = calibrator(logits, np.array(labels), CLASSES)
    assert fit.status == status
    assert fit.affine.is_identity
    assert fit.se is None
    assert fit.nll_after == fit.nll_before
    (sentence,) = fit.warnings
    assert "confidence was left as it is" in sentence
    assert f"{(logits.argmax(1) == labels).sum()} of 4 images right" in sentence


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(("images", "classes", "seed"), [(300, 3, 0), (800, 6, 1), (60, 6, 2)])
def test_vector_is_the_minimum_that_scipy_finds(images, classes, seed, ridge):
    logits, labels = drawn(images, classes=classes, seed=seed)
    scores = logits.astype(np.float64) + np.linspace(-1, 1, classes)
    centre_t = temperature(scores, labels, CLASSES[:classes]).affine.scale[0]
    centre = np.concatenate([np.full(classes, centre_t), np.zeros(classes)])

    def objective(theta):
        log_p = special.log_softmax(scores * theta[:classes] + theta[classes:], axis=1)
        error = np.exp(log_p)
        error[np.arange(images), labels] -= 1
        away = theta - centre
        value = -log_p[np.arange(images), labels].mean() + ridge / (2 * images) * away @ away
        slope = np.concatenate([(error * scores).mean(0), error.mean(0)]) + ridge / images * away
        return value, slope

    best = optimize.minimize(
        objective,
        centre,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-16, "gtol": 1e-11, "maxiter": 5000},
    )
    fit = vector(scores, labels, CLASSES[:classes], ridge=ridge)
    theta = np.concatenate([fit.affine.scale, fit.affine.bias])
    value, slope = objective(theta)
    assert value <= best.fun + 1e-12
    assert np.abs(slope).max() < 1e-5
    np.testing.assert_allclose(theta, best.x, atol=2e-5 if ridge < 1 else 1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_vector_is_never_worse_than_the_temperature_it_is_drawn_to(seed, ridge):
    logits, labels = drawn(200, seed=seed)
    by_class, single = vector(logits, labels, CLASSES, ridge=ridge), temperature(logits, labels, CLASSES)
    assert by_class.nll_after <= single.nll_after + 1e-12
    assert by_class.nll_before == single.nll_before


def test_heavy_ridge_gives_the_temperature():
    logits, labels = drawn(200)
    fit = vector(logits, labels, CLASSES, ridge=1000.0)
    single = temperature(logits, labels, CLASSES).affine.scale[0]
    assert np.abs(np.array(fit.affine.scale) - single).max() < 0.1
    assert np.abs(fit.affine.bias).max() < 0.1


def test_vector_finds_a_shifted_class():
    logits, labels = drawn(4000, sharp=1.0)
    shifted = logits.copy()
    shifted[:, 2] += 1.5
    bias = np.array(vector(shifted, labels, CLASSES, ridge=0.01).affine.bias)
    assert bias[2] - np.delete(bias, 2).mean() == pytest.approx(-1.5, abs=0.25)


def test_vector_survives_classes_without_images_and_huge_logits():
    logits, labels = drawn(100)
    kept = labels < 4
    fit = vector(logits[kept] * 20, labels[kept], CLASSES)
    assert np.isfinite([*fit.affine.scale, *fit.affine.bias, *fit.se, fit.nll_after]).all()


def test_temperature_moves_no_answer():
    logits, labels = drawn(500)
    fit = temperature(logits, labels, CLASSES)
    np.testing.assert_array_equal(fit.affine.apply(logits).argmax(1), logits.argmax(1))


def test_constant_uses_its_setting_and_fits_nothing():
    logits, labels = drawn(400)
    fit = constant(logits, labels, CLASSES, temperature=2.0)
    assert fit.affine.temperature == 2.0
    assert fit.status == "constant"
    assert fit.se is None
    assert fit.nll_after == pytest.approx(nll(logits.astype(np.float64) / 2, labels), abs=1e-12)
    assert constant(logits, labels, CLASSES, temperature=1.0).affine.is_identity


@pytest.mark.parametrize("calibrator", [temperature, vector, affine, bias, constant])
def test_absent_classes_and_few_images_are_named(calibrator):
    logits, labels = drawn(250)
    kept = (labels != 1) & (labels != 4)
    absent, few = calibrator(logits[kept], labels[kept], CLASSES).warnings
    assert absent == "calibration holds no image of c1, c4"
    assert few.startswith(f"only {kept.sum()} images for calibration")
    assert ("standard error of T" in few) == (calibrator is temperature)


def test_enough_images_of_every_class_give_no_warning():
    logits, labels = drawn(300)
    assert temperature(logits, labels, CLASSES).warnings == ()


@pytest.mark.parametrize("name", list(CALIBRATORS))
def test_every_calibrator_runs_with_its_defaults_and_is_documented(name):
    logits, labels = drawn(400)
    options = CALIBRATORS.settings(name, {}, where="test")
    fit = CALIBRATORS.load(name)(logits, labels, CLASSES, **options)
    assert fit.status in ("ok", "constant")
    assert CALIBRATORS.describe(name)["source"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("vector", {"ridge": 0}), ("constant", {"temperature": 0}), ("temperature", {"bins": 3})],
)
def test_settings_out_of_bounds_are_refused(name, options):
    with pytest.raises(RecipeError):
        CALIBRATORS.settings(name, options, where="r.yaml: calibrator")
