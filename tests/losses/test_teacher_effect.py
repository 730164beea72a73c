"""The declared effect of the teacher's calibration agrees with the student's gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_cases import CASES, build, drawn_step, gradients, settled, with_logits

from calkd_edge.losses.objective import joined_effect
from calkd_edge.records import Affine

AFFINES = {
    "identity": Affine(scale=(1.0,)),
    "one bias for all": Affine(scale=(1.0,), bias=(2.0,)),
    "temperature": Affine(scale=(0.5,)),
    "equal scales": Affine(scale=(0.5,) * 7, bias=(0.0,) * 7),
    "equal scales, one bias": Affine(scale=(0.5,) * 7),
    "a scaled identity": Affine(scale=tuple((0.5 * np.eye(7)).ravel()), bias=(0.0,) * 7),
    "vector": Affine(scale=tuple(np.linspace(0.5, 1.5, 7)), bias=tuple(np.linspace(-1, 1, 7))),
    "bias": Affine(scale=(1.0,), bias=tuple(np.linspace(-1, 1, 7))),
}


def gradient(loss, affine=None):
    torch.manual_seed(4)
    step = drawn_step(epoch=3.0)
    if affine is not None:
        theirs = torch.from_numpy(affine.apply(step.teacher.logits.numpy()))
        step = with_logits(step, teacher=theirs)
    loss(step).backward()
    return gradients(step)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_teacher_effect_agrees_with_the_students_gradient(name, settings, affine):
    loss = settled(name, settings)
    effect = loss.teacher_effect(AFFINES[affine])
    before, after = gradient(loss), gradient(loss, AFFINES[affine])
    moved = ((before - after).abs().max() / before.abs().max()).item()
    assert moved < 1e-5 if effect.kind == "no_op" else moved > 1e-4
    assert len(effect.sentence) > 20
    if effect.kind in ("absorbed", "partial"):
        assert affine in ("temperature", "equal scales", "equal scales, one bias", "a scaled identity")


@pytest.mark.parametrize(("name", "power"), [("ttm", 0.1), ("ttm", 0.6), ("wttm", 0.2)])
def test_an_absorbed_temperature_is_another_setting(name, power):
    """ttm's whole gradient; wttm's up to one factor for each image."""
    before = gradient(settled(name, {"power": 0.5 * power}))
    after = gradient(settled(name, {"power": power}), AFFINES["temperature"])
    effect = settled(name, {"power": power}).teacher_effect(AFFINES["temperature"])
    assert f"power: {0.5 * power:g}" in effect.sentence
    if name == "ttm":
        assert effect.kind == "absorbed"
        assert torch.allclose(before, after, rtol=1e-9)
        return
    assert effect.kind == "partial"
    share = (before / after).view(-1, 7)
    assert torch.allclose(share, share[:, :1].expand_as(share), rtol=1e-6)
    assert share.std() > 1e-4


def test_the_sentence_names_the_teacher_side_temperature():
    effect = build("kd", {}).teacher_effect(Affine(scale=(0.5,)))
    assert "teacher-side temperature of 8, with the student still at 4" in effect.sentence


def test_standardized_logits_remove_a_temperature():
    for name in ("kd", "dkd"):
        effect = build(name, {"standardize": True}).teacher_effect(AFFINES["temperature"])
        assert effect.kind == "no_op"
        assert "vector" in effect.sentence
    effect = build("mlkd", {"standardize": True}).teacher_effect(AFFINES["temperature"])
    assert effect.kind == "partial"


def test_sum_acts_when_any_term_does():
    silent, loud = build("cross_entropy", {}), build("kd", {})
    assert joined_effect([silent, loud], AFFINES["temperature"]).kind == "acts"
    assert joined_effect([silent, loud], AFFINES["identity"]).kind == "no_op"
    assert joined_effect([silent], AFFINES["temperature"]).kind == "no_op"
