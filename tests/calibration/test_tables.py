"""Confidence maps that are tables: scikit-learn's answers, and why fitting images cannot judge them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from calkd_edge import metrics
from calkd_edge.calibration.tables import TABLES, histogram, isotonic


def answers(images: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    confidence = np.sqrt(generator.uniform(0.1, 1, size=images))
    return confidence, generator.random(images) < confidence**2


@given(st.integers(0, 500), st.integers(1, 80), st.booleans())
def test_isotonic_is_scikit_learns_also_with_ties(seed, images, rounded):
    confidence, correct = answers(images, seed)
    confidence = confidence.round(1) if rounded else confidence
    theirs = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct)
    queries = np.linspace(0, 1, 57)
    np.testing.assert_allclose(isotonic(confidence, correct)(queries), theirs.predict(queries), atol=1e-12)


def test_isotonic_is_perfect_where_it_was_fitted_and_not_elsewhere():
    confidence, correct = answers(800)
    mapped = isotonic(confidence, correct)
    assert metrics.expected_calibration_error(mapped(confidence), correct) < 1e-12
    fresh, outcome = answers(800, seed=1)
    assert metrics.expected_calibration_error(mapped(fresh), outcome) > 0.01


def test_histogram_gives_each_range_the_share_that_was_right():
    confidence = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    correct = np.array([False, False, True, True, True, False])
    mapped = histogram(confidence, correct, bins=2)
    np.testing.assert_allclose(mapped(np.array([0.0, 0.3, 0.31, 1.0])), [1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_histogram_of_tied_confidences_has_no_empty_range():
    confidence = np.array([0.5] * 8 + [0.9] * 2)
    mapped = histogram(confidence, np.arange(10) % 2 == 0, bins=5)
    assert np.isfinite(mapped(np.linspace(0, 1, 11))).all()
    assert mapped(np.array([0.5]))[0] == 0.5


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_maps_into_zero_to_one_and_is_documented(name):
    confidence, correct = answers(300)
    mapped = TABLES.load(name)(confidence, correct, **TABLES.settings(name, {}, where="test"))
    mapped_values = mapped(np.linspace(0, 1, 101))
    assert ((mapped_values >= 0) & (mapped_values <= 1)).all()
    assert TABLES.describe(name)["source"]
