"""Every loss: its gradient, its limits, its state, and its entry in the registry."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_cases import (
    CASES,
    CONTEXT,
    FEATURE_CASES,
    LOGIT_CASES,
    ROWS,
    SETTINGS,
    build,
    drawn_step,
    gradients,
    leaves,
    settled,
    with_features,
    with_logits,
)

from calkd_edge.errors import RecipeError
from calkd_edge.losses import LOSSES
from calkd_edge.registry import settings_model


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_gradient_is_the_finite_difference(name, arguments):
    loss, step = settled(name, arguments), drawn_step(epoch=3.0)
    tensors = leaves(step)

    def value(*changed):
        torch.manual_seed(4)
        features = dict(zip(step.student.features, changed[1:], strict=True))
        return loss(replace(step, student=replace(step.student, logits=changed[0], features=features)))

    assert torch.autograd.gradcheck(value, tensors, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if case[0] != "ctkd"])
def test_gradient_of_a_losss_layers_is_the_finite_difference(name, arguments):
    loss, step = settled(name, arguments), drawn_step(epoch=3.0)
    parameters = list(loss.parameters())
    for parameter in parameters:

        def value(_, step=step):
            torch.manual_seed(4)
            return loss(step)

        assert torch.autograd.gradcheck(value, (parameter,), eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)
    assert bool(parameters) == (name in ("hint", "vid", "ofd", "crd", "reviewkd"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["opposed", "agreeing", "student", "teacher", "uniform"])
@pytest.mark.parametrize(("name", "arguments"), [case for case in CASES if case not in FEATURE_CASES])
def test_huge_logits_give_finite_values_and_gradients(name, arguments, dtype, kind):
    huge = torch.full((ROWS, 7), -1e4)
    huge[torch.arange(ROWS), torch.arange(ROWS)] = 1e4
    student, teacher = {
        "opposed": (huge, -huge),
        "agreeing": (huge, huge),
        "student": (huge, torch.zeros_like(huge)),
        "teacher": (torch.zeros_like(huge), huge),
        "uniform": (torch.full_like(huge, 1e4), torch.full_like(huge, -1e4)),
    }[kind]
    for shift in (0, 1):
        step = drawn_step(dtype=dtype)
        logits = student.to(dtype).requires_grad_()
        step = replace(with_logits(step, logits, teacher.to(dtype)), labels=(torch.arange(ROWS) + shift) % 7)
        value = build(name, arguments)(step)
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["zero", "student zero", "teacher zero", "constant", "huge", "one image"])
@pytest.mark.parametrize(("name", "arguments"), FEATURE_CASES)
def test_odd_features_give_finite_values_and_gradients(name, arguments, dtype, kind):
    ours, theirs = {
        "zero": (0.0, 0.0),
        "student zero": (0.0, 1.0),
        "teacher zero": (1.0, 0.0),
        "constant": (None, None),
        "huge": (1e4, 1e4),
        "one image": (1.0, 1.0),
    }[kind]
    step = drawn_step(rows=1 if kind == "one image" else ROWS, dtype=dtype)

    def changed(features, factor):
        if factor is None:
            return {tap: torch.ones_like(feature).requires_grad_() for tap, feature in features.items()}
        return {tap: (feature.detach() * factor).requires_grad_() for tap, feature in features.items()}

    step = with_features(step, changed(step.student.features, ours), changed(step.teacher.features, theirs))
    loss = build(name, arguments)
    if kind == "one image":  # batch normalisation wants two of a vector
        loss.eval()
    value = loss(step)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradients(step)).all()
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters() if p.grad is not None)
    assert all(feature.grad is None for feature in step.teacher.features.values())


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_autocast_around_a_loss_leaves_it_in_float32(name, arguments):
    loss, step = build(name, arguments).eval(), drawn_step(dtype=torch.float32)
    torch.manual_seed(4)
    plain = loss(step).item()
    torch.manual_seed(4)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(step).item() == plain


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_loaded_state_restores_a_loss(name, arguments):
    """As in a resumed run: the same settings, other random weights, then the state."""
    loss = build(name, arguments)
    loss(drawn_step(dtype=torch.float32, epoch=1.0))
    torch.manual_seed(77)
    other = LOSSES.load(name)(CONTEXT, **LOSSES.settings(name, arguments, where="test"))
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    for seed in (1, 2):
        values = []
        for element in (loss, other):
            torch.manual_seed(seed)
            values.append(element(drawn_step(seed, dtype=torch.float32, epoch=2.0)).item())
        assert values[0] == values[1]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_loss_declares_whether_it_reads_labels_and_teacher_logits(name, arguments):
    loss, step = settled(name, arguments), drawn_step(epoch=3.0)

    def value(of):
        torch.manual_seed(4)
        return loss(of).item()

    plain = value(step)
    other_labels = value(replace(step, labels=(step.labels + 1) % 7))
    other_teacher = value(with_logits(step, teacher=step.teacher.logits.flip(1)))
    if name != "crd":  # crd's labels keep an image's own class out of the negatives
        assert loss.uses_labels == (other_labels != plain)
    assert loss.uses_teacher == (other_teacher != plain)
    assert bool(loss.teacher_taps) == ((name, arguments) in FEATURE_CASES)


# The registry.


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_documented_and_annotated(name):
    assert name in SETTINGS
    described = LOSSES.describe(name)
    assert described["summary"].endswith(".")
    assert described["source"]
    assert settings_model(LOSSES.load(name)).model_fields


def test_every_loss_is_on_logits_or_features():
    named = {case[0] for case in (*LOGIT_CASES, *FEATURE_CASES)} | {"cross_entropy"}
    assert named == set(LOSSES)


@pytest.mark.parametrize(
    ("name", "arguments"),
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
        ("dist", {"temperature": 0}),
        ("nkd", {"gamma": -1}),
        ("mlkd", {"temperatures": []}),
        ("mlkd", {"temperatures": [4.0, 0.0]}),
        ("ctkd", {"temperature_span": 0}),
        ("ttm", {"power": 0}),
        ("wttm", {"power": 11}),
        ("at", {"student": [], "teacher": []}),
        ("at", {"student": ["a"], "teacher": ["b"], "power": 0.5}),
        ("nst", {"student": ["a"], "teacher": ["b"], "kernel": "cubic"}),
        ("vid", {"student": ["a"], "teacher": ["b"], "initial_variance": 0}),
        ("crd", {"student": "a", "teacher": "b", "momentum": 1.0}),
        ("crd", {"student": "a", "teacher": "b", "temperature": 0}),
        ("reviewkd", {"student": ["a"], "teacher": ["b"], "warmup_epochs": -1}),
        ("cat_kd", {"student": "a", "teacher": "b"}),
    ],
)
def test_settings_out_of_bounds_are_refused_with_their_recipe_path(name, arguments):
    with pytest.raises(RecipeError, match=r"r\.yaml: distill\.losses\[0\]"):
        LOSSES.settings(name, arguments, where="r.yaml: distill.losses[0]")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [case for case in FEATURE_CASES if isinstance(case[1]["student"], list)],
)
def test_unequal_numbers_of_taps_are_refused(name, arguments):
    with pytest.raises(RecipeError, match=r"names 1 taps and `teacher` \d|names \d taps"):
        build(name, {**arguments, "student": ["early"], "teacher": ["early", "late"]})


@pytest.mark.parametrize(("name", "arguments"), FEATURE_CASES)
def test_tokens_are_refused_with_their_shape(name, arguments):
    is_list = isinstance(arguments["student"], list)
    count = len(arguments["student"]) if is_list else 1
    taps = ["tokens"] * count if is_list else "tokens"
    with pytest.raises(RecipeError, match=r"'tokens' has the shape \[16, (12|9)\] \(tokens\)"):
        build(name, {**arguments, "student": taps, "teacher": taps})


def test_dkd_with_two_classes_is_its_target_part():
    student, teacher = torch.randn(2, ROWS, 2, dtype=torch.float64).unbind()
    labels = torch.from_numpy(np.arange(ROWS) % 2)
    step = replace(with_logits(drawn_step(), student.requires_grad_(), teacher), labels=labels)
    half = build("dkd", {"warmup_epochs": 0.0, "beta": 0.0})(step).item()
    assert build("dkd", {"warmup_epochs": 0.0})(step).item() == pytest.approx(half, rel=1e-12)
