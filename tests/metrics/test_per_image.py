"""Per-image scores and the best temperature, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from calkd_edge.metrics import per_image as scores

finite_logits = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.integers(2, 7)), elements=st.floats(-50, 50)
)


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


@given(finite_logits, st.booleans())
def test_one_pass_gives_to_the_bit_what_the_functions_give(logits, narrow):
    values = logits.astype(np.float32) if narrow else logits
    labels = np.arange(len(values)) % values.shape[1]
    figures = scores.softmax_figures(values, labels)
    assert (figures.nll == scores.nll_per_image(values, labels)).all()
    assert (figures.brier == scores.brier_per_image(values, labels)).all()
    assert (figures.confidence == scores.confidence(values)).all()
    log_p = values - figures.maximum[:, None] - figures.log_total[:, None]
    assert (log_p == scores.log_softmax(values)).all()
    rows = np.arange(len(values))[::-2]
    expected = scores.nll_per_image(values[rows].astype(np.float64) * 1.7, labels[rows])
    assert (scores.scaled_nll(values, labels, 1.7, rows) == expected).all()
