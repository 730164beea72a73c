"""Losses on logits: each against its formula in numpy, and under shifts, scales and at student = teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import CASES, LOGIT_CASES, ROWS, build, drawn, drawn_step, with_logits
from loss_formulas import by_hand, ctkd_by_hand, kd_by_hand, parts_by_hand
from scipy import special, stats

from calkd_edge.losses.ctkd import reversed_gradient
from calkd_edge.losses.dist import pearson
from calkd_edge.losses.dkd import dkd_loss
from calkd_edge.losses.kd import kd_loss
from calkd_edge.losses.objective import WeightedLosses
from calkd_edge.losses.standardize import standardized


@pytest.mark.parametrize(
    ("name", "arguments"), [*LOGIT_CASES, *(case for case in CASES if case[0] == "cross_entropy")]
)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.2, 8.0))
def test_loss_equals_its_formula(name, arguments, seed, scale):
    # The formula has neither the 1e-8 beside dist's norms nor the 1e-7 beside a row's spread.
    scale = min(scale, 3.0) if name == "dist" else scale
    finest = 3e-4 if name == "dist" else 1e-5
    student, teacher, labels = drawn(seed, scale=scale)
    expected = by_hand(name, arguments, student, teacher, labels)
    for dtype, tolerance in ((torch.float32, 3e-4), (torch.float64, finest)):
        value = build(name, arguments)(drawn_step(seed, scale=scale, dtype=dtype))
        assert value.dtype == dtype
        assert value.item() == pytest.approx(expected, rel=tolerance, abs=tolerance / 10)


def test_kd_gradient_is_the_difference_of_the_softened_probabilities():
    student, teacher, _ = drawn()
    step = drawn_step()
    build("kd", {})(step).backward()
    expected = 4.0 * (special.softmax(student / 4, axis=1) - special.softmax(teacher / 4, axis=1)) / ROWS
    np.testing.assert_allclose(step.student.logits.grad, expected, atol=1e-12)


ZERO_AT_TEACHER = [
    *((name, arguments) for name, arguments in LOGIT_CASES if name not in ("nkd", "ttm", "wttm")),
    ("ttm", {"power": 1.0}),
    ("wttm", {"power": 1.0}),
]


@pytest.mark.parametrize(("name", "arguments"), ZERO_AT_TEACHER)
def test_a_student_that_equals_the_teacher_has_nothing_to_learn(name, arguments):
    step = drawn_step()
    logits = step.teacher.logits.clone().requires_grad_()
    value = build(name, arguments)(with_logits(step, student=logits))
    value.backward()
    assert abs(value.item()) < 1e-4
    assert logits.grad.abs().max() < 1e-4


@pytest.mark.parametrize("power", [0.1, 0.5, 3.0])
def test_ttm_is_at_rest_where_the_student_is_the_softened_teacher(power):
    step = drawn_step()
    logits = (power * step.teacher.logits).requires_grad_()
    for name in ("ttm", "wttm"):
        value = build(name, {"power": power})(with_logits(step, student=logits))
        assert abs(value.item()) < 1e-12


@pytest.mark.parametrize(("name", "arguments"), LOGIT_CASES)
def test_a_shift_of_a_row_of_logits_changes_nothing(name, arguments):
    step = drawn_step()
    shift = torch.tensor([[50.0], [-50.0], [0.0], [1.0], [-1.0]], dtype=torch.float64)
    loss = build(name, arguments)
    moved = with_logits(step, step.student.logits + shift, step.teacher.logits - shift)
    assert loss(moved).item() == pytest.approx(loss(step).item(), rel=1e-9)


@given(st.floats(0.01, 100.0))
@settings(max_examples=25, deadline=None)
def test_standardized_logits_have_neither_scale_nor_shift(factor):
    logits, _, _ = drawn()
    result = standardized(torch.tensor(factor * logits + 3.0)).numpy()
    np.testing.assert_allclose(result, stats.zscore(logits, axis=1, ddof=1), rtol=1e-4, atol=1e-5)


@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
@settings(max_examples=25, deadline=None)
def test_pearson_ignores_scale_and_shift_of_either_side(factor, shift):
    first, second, _ = (torch.tensor(x) for x in drawn())
    plain = pearson(first, second, 1)
    assert torch.allclose(pearson(factor * first + shift, second, 1), plain, atol=1e-7)
    assert torch.allclose(pearson(first, factor * second + shift, 1), plain, atol=1e-7)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=15, deadline=None)
def test_kd_is_the_target_part_plus_the_others_weighted_by_the_teachers_doubt(seed, t):
    student, teacher, labels = drawn(seed)
    _, _, doubt = parts_by_hand(student, teacher, labels, t)
    for row in range(ROWS):
        s, z, y = (torch.tensor(x[row : row + 1]) for x in (student, teacher, labels))
        joined = dkd_loss(s, z, y, alpha=1.0, beta=float(doubt[row]), temperature=t)
        assert joined.item() == pytest.approx(kd_loss(s, z, t).item(), rel=1e-6, abs=1e-9)


def test_dkd_rises_over_its_warm_up():
    loss = build("dkd", {"warmup_epochs": 10.0})
    at = [loss(drawn_step(epoch=epoch)).item() for epoch in (0.0, 2.5, 5.0, 10.0, 50.0)]
    np.testing.assert_allclose(np.array(at) / at[-1], [0, 0.25, 0.5, 1, 1], atol=1e-6)


@pytest.mark.parametrize(("epoch", "strength"), [(0.0, 0.0), (5.0, 0.5), (10.0, 1.0), (200.0, 1.0)])
def test_ctkd_climbs_where_the_student_descends_as_far_as_the_curriculum_is(epoch, strength):
    loss, step = build("ctkd", {}).double(), drawn_step(epoch=epoch)
    loss(step).backward()
    student, teacher, _ = drawn()
    nudge = 1e-5
    up, down = (ctkd_by_hand(student, teacher, initial=1.0 + sign * nudge) for sign in (1, -1))
    slope = (up - down) / (2 * nudge)
    assert loss.theta.grad.item() == pytest.approx(-strength * slope, rel=1e-4, abs=1e-9)
    t = 1 + 20 * special.expit(1.0)
    expected = t * (special.softmax(student / t, axis=1) - special.softmax(teacher / t, axis=1)) / ROWS
    np.testing.assert_allclose(step.student.logits.grad, expected, rtol=1e-5, atol=1e-9)


def test_reversed_gradient_is_the_value_itself():
    value = torch.tensor(2.5, requires_grad=True)
    reversed_ = reversed_gradient(value, torch.tensor(0.25, dtype=torch.float64))
    reversed_.backward()
    assert (reversed_.item(), value.grad.item()) == (2.5, -0.25)


def test_terms_are_weighted_and_a_name_may_occur_twice():
    student, teacher, _ = drawn()
    terms = [("kd", 2.0, build("kd", {})), ("kd", 3.0, build("kd", {"temperature": 1.0}))]
    result = WeightedLosses(terms)(drawn_step())
    assert list(result) == ["kd", "kd-1"]
    assert result["kd"].item() == pytest.approx(2 * kd_by_hand(student, teacher, 4.0))
    assert result["kd-1"].item() == pytest.approx(3 * kd_by_hand(student, teacher, 1.0))
