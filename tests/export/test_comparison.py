"""compare_logits: differences by hand, and what a row's mean, a near tie and a NaN do to them."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge.export.comparison import compare_logits, largest_difference


def test_differences_by_hand():
    reference = np.array([[4.0, 0.0], [0.0, 2.0]], np.float32)
    compared = compare_logits(reference * 1.5, reference)
    assert (compared.images, compared.max_difference, compared.largest) == (2, 2.0, 4.0)
    assert compared.slope == pytest.approx(1.5)
    assert compared.rms_difference == pytest.approx(np.sqrt((1 + 1 + 0.25 + 0.25) / 4))
    assert compared.relative_rms == pytest.approx(0.5)
    assert compared.agreement == 1.0
    assert compared.float32_tolerance == pytest.approx(4e-4)


def test_a_number_added_to_a_row_counts_in_the_largest_difference_alone():
    reference = np.random.default_rng(0).normal(size=(50, 4))
    compared = compare_logits(reference + np.arange(50)[:, None], reference)
    assert compared.max_difference == pytest.approx(49.0)
    assert compared.relative_rms == pytest.approx(0.0, abs=1e-12)
    assert compared.slope == pytest.approx(1.0)


def test_classes_that_change_at_a_near_tie_are_not_counted_as_changed():
    reference = np.array([[1.0, 0.99, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    compared = compare_logits(reference[:, [1, 0, 2]], reference)
    assert compared.agreement == 0.0
    assert (compared.near_ties(0.02), compared.changed(0.02)) == (1, 2)
    assert (compared.near_ties(0.001), compared.changed(0.001)) == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_within_no_tolerance(value):
    reference = np.ones((3, 2))
    logits = reference.copy()
    logits[1, 1] = value
    compared = compare_logits(logits, reference)
    assert not compared.is_finite
    assert not compared.max_difference <= compared.float32_tolerance


def test_arrays_of_different_shapes_differ_infinitely():
    assert largest_difference(np.zeros((2, 3)), np.zeros((2, 4))) == np.inf
