"""Maps with a number for each class or pair of classes: scipy's minima, and what they do to logits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from calkd_edge.calibration.affine import MOST_CLASSES, affine
from calkd_edge.calibration.bias import bias
from calkd_edge.calibration.convex import Local, minimum
from calkd_edge.calibration.temperature import temperature
from calkd_edge.calibration.vector import vector
from calkd_edge.errors import RecipeError


def mixed(images: int, classes: int, *, seed: int = 0, strength: float = 0.3):
    """Logits that a matrix and a bias have mixed, and labels of the unmixed ones."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(images, classes)) * 2.5
    labels = (truth + generator.gumbel(size=truth.shape)).argmax(axis=1)
    matrix = np.eye(classes) * 1.6 + strength * generator.normal(size=(classes, classes)) / np.sqrt(classes)
    return truth @ matrix.T + strength * generator.normal(size=classes), labels


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"c{number}" for number in range(classes))


def affine_objective(scores, labels, ridge):
    """Value and gradient over (A, b), written out."""
    count, size = scores.shape
    off = ~np.eye(size, dtype=bool)

    def objective(theta):
        a, b = theta[: size**2].reshape(size, size), theta[size**2 :]
        log_p = special.log_softmax(scores + scores @ a.T + b, axis=1)
        error = np.exp(log_p)
        error[np.arange(count), labels] -= 1
        small, large = ridge * size / count, ridge * size * (size - 1) / count
        weights = np.where(off, large, small)
        value = -log_p[np.arange(count), labels].mean() + (weights * a**2).sum() + small * (b**2).sum()
        slope_a = error.T @ scores / count + 2 * weights * a
        return value, np.concatenate([slope_a.reshape(-1), error.mean(axis=0) + 2 * small * b])

    return objective


@pytest.mark.parametrize("ridge", [0.01, 1.0])
@pytest.mark.parametrize(("images", "classes"), [(400, 3), (1500, 8)])
def test_affine_is_the_minimum_that_scipy_finds(images, classes, ridge):
    logits, labels = mixed(images, classes)
    t = temperature(logits, labels, names(classes)).affine.temperature
    scores = logits / t
    scores -= scores.mean(axis=1, keepdims=True)
    objective = affine_objective(scores, labels, ridge)
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 20_000, "maxfun": 40_000}
    best = optimize.minimize(
        objective, np.zeros(classes**2 + classes), jac=True, method="L-BFGS-B", options=options
    )
    fit = affine(logits, labels, names(classes), ridge=ridge)
    a, b = best.x[: classes**2].reshape(classes, classes), best.x[classes**2 :]
    expected = special.softmax(scores + scores @ a.T + b, axis=1)
    np.testing.assert_allclose(special.softmax(fit.affine.apply(logits), axis=1), expected, atol=1e-5)
    assert fit.nll_after == pytest.approx(-np.log(expected[np.arange(images), labels]).mean(), abs=1e-7)


def test_affine_undoes_a_mixing_matrix_where_a_vector_cannot():
    logits, labels = mixed(20_000, 5, strength=0.6)
    fresh, their_labels = mixed(20_000, 5, strength=0.6)
    fits = {f.__name__: f(logits, labels, names(5)) for f in (temperature, vector, affine)}
    held_out = {
        name: -special.log_softmax(fitted.affine.apply(fresh), axis=1)[np.arange(20_000), their_labels].mean()
        for name, fitted in fits.items()
    }
    assert held_out["affine"] < held_out["vector"] - 0.02 < held_out["temperature"]


def test_shifting_rows_changes_nothing_about_affine():
    logits, labels = mixed(600, 4)
    shifted = logits + np.random.default_rng(1).normal(size=(600, 1)) * 20
    plain, moved = affine(logits, labels, names(4)), affine(shifted, labels, names(4))
    np.testing.assert_allclose(plain.affine.scale, moved.affine.scale, atol=1e-7)
    np.testing.assert_allclose(
        special.softmax(plain.affine.apply(shifted), axis=1),
        special.softmax(plain.affine.apply(logits), axis=1),
        atol=1e-9,
    )


def test_a_heavy_ridge_leaves_affine_and_bias_at_the_temperature():
    logits, labels = mixed(200, 6)
    single = temperature(logits, labels, names(6)).affine
    for calibrator in (affine, bias):
        fit = calibrator(logits, labels, names(6), ridge=1000.0).affine
        expected = special.softmax(single.apply(logits), axis=1)
        np.testing.assert_allclose(special.softmax(fit.apply(logits), axis=1), expected, atol=0.01)


@pytest.mark.parametrize("with_temperature", [True, False])
def test_bias_is_the_minimum_that_scipy_finds(with_temperature):
    logits, labels = mixed(900, 7)
    beta = temperature(logits, labels, names(7)).affine.scale[0] if with_temperature else 1.0

    def objective(b):
        log_p = special.log_softmax(logits * beta + b, axis=1)
        return -log_p[np.arange(900), labels].mean() + 0.5 * 7 / 900 * (b**2).sum()

    best = optimize.minimize(objective, np.zeros(7), method="BFGS", options={"gtol": 1e-10})
    fit = bias(logits, labels, names(7), temperature=with_temperature, ridge=0.5)
    assert fit.affine.scale == (pytest.approx(beta),)
    np.testing.assert_allclose(fit.affine.bias, best.x, atol=1e-6)


def test_bias_finds_classes_that_are_rarer_than_in_training():
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(30_000, 4)) * 2
    prior = np.log(np.array([0.4, 0.3, 0.2, 0.1]) * 4)
    labels = (logits + prior + generator.gumbel(size=logits.shape)).argmax(axis=1)
    fit = np.array(bias(logits, labels, names(4), ridge=0.01).affine.bias)
    np.testing.assert_allclose(fit - fit.mean(), prior - prior.mean(), atol=0.06)


def test_bias_alone_fits_where_no_temperature_exists():
    separable = np.eye(4)[[0, 1, 2, 3]] * 3
    labels = np.arange(4)
    assert bias(separable, labels, names(4)).status == "separable"
    assert bias(separable, labels, names(4), temperature=False).status == "ok"


@pytest.mark.parametrize("calibrator", [vector, affine, bias])
def test_classes_at_minus_infinity_are_refused_by_maps_by_class(calibrator):
    logits, labels = mixed(50, 3)
    logits[4, (labels[4] + 1) % 3] = -np.inf
    with pytest.raises(RecipeError, match="1 rows of logits exclude classes"):
        calibrator(logits, labels, names(3))


def test_affine_of_many_classes_is_refused_with_an_alternative():
    size = MOST_CLASSES + 1
    with pytest.raises(RecipeError, match="90,601 numbers") as refused:
        affine(np.zeros((10, size)), np.zeros(10, dtype=int), names(size))
    assert "vector" in refused.value.remedy


def test_minimum_of_a_badly_scaled_bowl_with_kinks():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(30, 30)))[0]
    curved = basis @ np.diag(np.geomspace(1e-4, 1e4, 30)) @ basis.T
    goal = generator.normal(size=30)

    def bowl(theta):
        away = theta - goal
        steep = np.sqrt(1 + away**2)
        value = 0.5 * away @ curved @ away + steep.sum()
        return Local(float(value), curved @ away + away / steep, lambda d: curved @ d + d / steep**3)

    fit = minimum(bowl, np.zeros(30), np.diag(curved) + 1)
    np.testing.assert_allclose(fit, goal, atol=1e-6)
