"""What a loss says of the teacher's calibration is what the student's gradient shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_cases import CASES, ROWS, build, drawn, step, tensors

from calkd_edge.losses.objective import joined_effect
from calkd_edge.records import Affine

AFFINES = {
    "identity": Affine(scale=(1.0,)),
    "one bias for all": Affine(scale=(1.0,), bias=(2.0,)),
    "temperature": Affine(scale=(0.5,)),
    "vector": Affine(scale=tuple(np.linspace(0.5, 1.5, 7)), bias=tuple(np.linspace(-1, 1, 7))),
    "bias": Affine(scale=(1.0,), bias=tuple(np.linspace(-1, 1, 7))),
}


def gradient(name, given, student, teacher, labels):
    loss = build(name, given).eval()
    feature = torch.randn(ROWS, 6, 8, 8, generator=torch.Generator().manual_seed(9)).requires_grad_()
    s, t, y = tensors(student, teacher, labels)
    loss(step(s, t, y, features=feature)).backward()
    pieces = [part.grad.ravel() for part in (s, feature) if part.grad is not None]
    return torch.cat(pieces)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(("name", "given"), CASES)
def test_teacher_effect_is_what_the_students_gradient_shows(name, given, affine):
    student, teacher, labels = drawn()
    effect = build(name, given).teacher_effect(AFFINES[affine])
    before = gradient(name, given, student, teacher, labels)
    after = gradient(name, given, student, AFFINES[affine].apply(teacher), labels)
    moved = (before - after).abs().max().item()
    assert effect.kind in ("acts", "no_op")
    assert moved < 1e-6 if effect.kind == "no_op" else moved > 1e-4
    assert len(effect.sentence) > 20


def test_temperature_on_the_teacher_is_the_teacher_side_temperature_the_sentence_names():
    effect = build("kd", {}).teacher_effect(Affine(scale=(0.5,)))
    assert "teacher-side temperature of 8, with the student still at 4" in effect.sentence


def test_sum_acts_when_any_term_does():
    silent, loud = build("cross_entropy", {}), build("kd", {})
    assert joined_effect([silent, loud], AFFINES["temperature"]).kind == "acts"
    assert joined_effect([silent, loud], AFFINES["identity"]).kind == "no_op"
    assert joined_effect([silent], AFFINES["temperature"]).kind == "no_op"
