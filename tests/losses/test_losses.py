"""Losses: each against its formula in float64, at its limits, and in the registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import CASES, ROWS, SETTINGS, build, context_of, drawn, step, tensors
from scipy import optimize, special

from calkd_edge.errors import RecipeError
from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Outputs, Step
from calkd_edge.losses.dkd import dkd_loss
from calkd_edge.losses.kd import kd_loss
from calkd_edge.losses.objective import WeightedLosses
from calkd_edge.registry import settings_model

LOGIT_CASES = [case for case in CASES if case[0] != "hint"]

# The formulae, as the papers write them, in float64.


def kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), axis=1)


def kd_by_hand(student, teacher, t):
    return t**2 * kl(special.softmax(teacher / t, axis=1), special.softmax(student / t, axis=1)).mean()


def parts_by_hand(student, teacher, labels, t):
    """TCKD, NCKD and 1 - p_label of the teacher for each row, without t squared."""
    p, q = special.softmax(teacher / t, axis=1), special.softmax(student / t, axis=1)
    rows = np.arange(len(labels))
    binary = [np.stack([x[rows, labels], 1 - x[rows, labels]], axis=1) for x in (p, q)]
    keep = np.ones_like(p, dtype=bool)
    keep[rows, labels] = False
    rest = [x[keep].reshape(len(labels), -1) for x in (p, q)]
    rest = [x / x.sum(axis=1, keepdims=True) for x in rest]
    return kl(*binary), kl(*rest), 1 - p[rows, labels]


def dkd_by_hand(student, teacher, labels, alpha, beta, t):
    target, others, _ = parts_by_hand(student, teacher, labels, t)
    return t**2 * (alpha * target + beta * others).mean()


def cross_entropy_by_hand(student, labels, smoothing):
    log_p = special.log_softmax(student, axis=1)
    wanted = np.full_like(log_p, smoothing / log_p.shape[1])
    wanted[np.arange(len(labels)), labels] += 1 - smoothing
    return -(wanted * log_p).sum(axis=1).mean()


def by_hand(name, given, student, teacher, labels):
    if name == "kd":
        return kd_by_hand(student, teacher, given.get("temperature", 4.0))
    if name == "dkd":
        numbers = (given.get("alpha", 1.0), given.get("beta", 8.0), given.get("temperature", 4.0))
        return dkd_by_hand(student, teacher, labels, *numbers)
    return cross_entropy_by_hand(student, labels, given.get("label_smoothing", 0.0))


@pytest.mark.parametrize(("name", "given"), LOGIT_CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 8.0))
def test_loss_equals_its_formula_and_its_gradient_the_finite_difference(name, given, seed, scale):
    student, teacher, labels = drawn(seed, scale=scale)
    loss, (s, t, y) = build(name, given), tensors(student, teacher, labels)
    value = loss(step(s, t, y))
    value.backward()
    wanted = by_hand(name, given, student, teacher, labels)
    assert value.item() == pytest.approx(wanted, rel=2e-4, abs=2e-6)
    slope = optimize.approx_fprime(
        student.ravel(), lambda z: by_hand(name, given, z.reshape(student.shape), teacher, labels), 1e-6
    )
    np.testing.assert_allclose(s.grad.numpy().ravel(), slope, rtol=1e-2, atol=2e-4 * max(1.0, abs(wanted)))


def test_kd_gradient_is_the_difference_of_the_softened_probabilities():
    student, teacher, labels = drawn()
    s, t, _ = tensors(student, teacher, labels)
    kd_loss(s, t, 4.0).backward()
    wanted = 4.0 * (special.softmax(student / 4, axis=1) - special.softmax(teacher / 4, axis=1)) / ROWS
    np.testing.assert_allclose(s.grad.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(("name", "given"), [case for case in LOGIT_CASES if case[0] != "cross_entropy"])
def test_a_student_that_equals_the_teacher_has_nothing_to_learn(name, given):
    _, teacher, labels = drawn()
    s, t, y = tensors(teacher, teacher, labels)
    value = build(name, given)(step(s, t, y))
    value.backward()
    assert abs(value.item()) < 1e-5
    assert s.grad.abs().max() < 1e-5


@given(st.floats(-50, 50), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_kd_and_dkd_do_not_feel_a_shift_of_a_row(first, second):
    student, teacher, labels = drawn()
    _, t, y = tensors(student, teacher, labels)
    s = torch.tensor(student, dtype=torch.float32)
    shift = torch.tensor([[first], [second], [0.0], [1.0], [-1.0]])
    assert kd_loss(s + shift, t - shift, 4.0).item() == pytest.approx(
        kd_loss(s, t, 4.0).item(), rel=1e-3, abs=1e-5
    )
    numbers = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0}
    assert dkd_loss(s + shift, t - shift, y, **numbers).item() == pytest.approx(
        dkd_loss(s, t, y, **numbers).item(), rel=1e-3, abs=1e-5
    )


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=25, deadline=None)
def test_kd_is_the_target_part_plus_the_others_weighed_by_the_teachers_doubt(seed, t):
    student, teacher, labels = drawn(seed)
    target, others, doubt = parts_by_hand(student, teacher, labels, t)
    for row in range(ROWS):
        s, z, y = tensors(student[row : row + 1], teacher[row : row + 1], labels[row : row + 1])
        numbers = {"alpha": 1.0, "beta": float(doubt[row]), "temperature": t}
        joined = dkd_loss(s, z, y, **numbers).item()
        assert joined == pytest.approx(kd_loss(s, z, t).item(), rel=1e-3, abs=1e-5)
        assert joined == pytest.approx(t**2 * (target + doubt * others)[row], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "given"), LOGIT_CASES)
@pytest.mark.parametrize("kind", ["opposed", "agreeing", "student", "teacher", "uniform"])
def test_huge_logits_give_finite_values_and_gradients(name, given, dtype, kind):
    huge = np.full((ROWS, 7), -1e4)
    huge[np.arange(ROWS), np.arange(ROWS)] = 1e4
    student, teacher = {
        "opposed": (huge, -huge),
        "agreeing": (huge, huge),
        "student": (huge, np.zeros_like(huge)),
        "teacher": (np.zeros_like(huge), huge),
        "uniform": (np.full_like(huge, 1e4), np.full_like(huge, -1e4)),
    }[kind]
    for labels in (np.arange(ROWS), (np.arange(ROWS) + 1) % ROWS):
        s, t, y = tensors(student, teacher, labels, dtype=dtype)
        value = build(name, given)(step(s, t, y))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(s.grad).all()


def test_dkd_rises_over_its_warm_up():
    student, teacher, labels = drawn()
    s, t, y = tensors(student, teacher, labels)
    loss = build("dkd", {"warmup_epochs": 10.0})
    at = [loss(step(s, t, y, epoch=epoch)).item() for epoch in (0.0, 2.5, 5.0, 10.0, 50.0)]
    np.testing.assert_allclose(np.array(at) / at[-1], [0, 0.25, 0.5, 1, 1], atol=1e-6)


def test_hint_is_the_mean_squared_error_after_pooling_and_projection():
    loss = build("hint", SETTINGS["hint"][0]).eval()
    zeros = torch.zeros(ROWS, 7)
    given_step = step(zeros, zeros, torch.zeros(ROWS, dtype=torch.int64))
    feature = given_step.student.features["layer2"].numpy().astype(np.float64)
    pooled = feature.reshape(ROWS, 6, 4, 2, 4, 2).mean((3, 5))
    weight = loss.projection[0].weight.detach().numpy()[:, :, 0, 0]
    projected = np.einsum("oi,bihw->bohw", weight, pooled) / np.sqrt(1 + 1e-5)
    wanted = ((projected - given_step.teacher.features["layer3"].numpy()) ** 2).mean()
    assert loss(given_step).item() == pytest.approx(wanted, rel=1e-5)


def test_hint_between_a_map_and_a_vector_pools_the_map():
    context = context_of((6, 8, 8), (10,))
    loss = LOSSES.load("hint")(context, student="layer2", teacher="fc")
    feature, theirs = torch.randn(ROWS, 6, 8, 8), torch.randn(ROWS, 10)
    given_step = Step(
        Outputs(torch.zeros(ROWS, 7), {"layer2": feature}),
        Outputs(torch.zeros(ROWS, 7), {"fc": theirs}),
        torch.zeros(ROWS, dtype=torch.int64),
        torch.arange(ROWS),
        0.0,
    )
    wanted = ((loss.projection(feature.mean((2, 3))) - theirs) ** 2).mean()
    assert loss(given_step).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_terms_are_weighed_and_a_name_may_stand_twice():
    student, teacher, labels = drawn()
    s, t, y = tensors(student, teacher, labels)
    terms = [("kd", 2.0, build("kd", {})), ("kd", 3.0, build("kd", {"temperature": 1.0}))]
    found = WeightedLosses(terms)(step(s, t, y))
    assert list(found) == ["kd", "kd-1"]
    assert found["kd"].item() == pytest.approx(2 * kd_by_hand(student, teacher, 4.0), rel=1e-4)
    assert found["kd-1"].item() == pytest.approx(3 * kd_by_hand(student, teacher, 1.0), rel=1e-4)


# The registry.


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_documented_and_annotated(name):
    assert name in SETTINGS
    described = LOSSES.describe(name)
    assert described["summary"].endswith(".")
    assert described["source"]
    assert settings_model(LOSSES.load(name)).model_fields


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("kd", {"temperature": 0}),
        ("kd", {"temperature": -1}),
        ("kd", {"temprature": 4}),
        ("kd", {"temperature": "hot"}),
        ("dkd", {"alpha": -1}),
        ("dkd", {"beta": -0.1}),
        ("dkd", {"warmup_epochs": -1}),
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("hint", {"student": "layer1"}),
    ],
)
def test_settings_out_of_bounds_are_refused_with_their_place(name, given):
    with pytest.raises(RecipeError, match=r"r\.yaml: distill\.losses\[0\]"):
        LOSSES.settings(name, given, where="r.yaml: distill.losses[0]")
