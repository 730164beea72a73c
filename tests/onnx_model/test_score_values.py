"""Values of scores: logits, probabilities, per cents and decisions are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.score_values import check_logits, check_probabilities

LOGITS = np.random.default_rng(5).normal(size=(30, 4)) * 3
SHARES = special.softmax(LOGITS, axis=1)


def of_probabilities(values):
    with np.errstate(divide="ignore"):
        return check_probabilities(np.log(values), "m.onnx", per_cent="divide")


def of_logits(values, *, insisted=False):
    return check_logits(values, "m.onnx", insisted=insisted, remedy="say so", per_cent="divide")


def test_what_they_are_called_passes_without_a_word():
    assert of_probabilities(SHARES) is None
    assert of_logits(LOGITS) is None


def test_per_cents_are_named_whatever_they_are_called():
    for check in (of_probabilities, of_logits):
        with pytest.raises(RecipeError, match="per cents") as refused:
            check(100 * SHARES)
        assert refused.value.remedy == "divide"


def test_probabilities_called_logits_are_refused_unless_the_caller_insists():
    with pytest.raises(RecipeError, match="these are probabilities") as refused:
        of_logits(SHARES.astype(np.float16))
    assert refused.value.remedy == "say so"
    assert "as --scores says" in str(of_logits(SHARES, insisted=True))


def test_scores_called_probabilities_get_the_remedy_that_fits_their_range():
    with pytest.raises(RecipeError, match="not to 1") as refused:
        of_probabilities(np.sqrt(SHARES))
    assert "softmax over its classes" in str(refused.value.remedy)
    with pytest.raises(RecipeError, match="not to 1") as refused:
        of_probabilities(np.abs(LOGITS) + 2)
    assert refused.value.remedy == "If they are logits, use --scores logits"


def test_decisions_are_pointed_out():
    assert "decisions" in str(of_probabilities(np.eye(4)[LOGITS.argmax(axis=1)]))
