"""The learning rate over the epochs, and the optimizer of a section."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from calkd_edge.recipe.training import OptimizerSection, ScheduleSection
from calkd_edge.training.schedule import learning_rate, optimizer_for

COSINE = ScheduleSection(name="cosine", warmup_epochs=5)
STEPS = ScheduleSection(name="steps", at_epochs=(10, 20), factor=0.1)

schedules = st.one_of(
    st.builds(ScheduleSection, name=st.just("cosine"), warmup_epochs=st.floats(0, 9)),
    st.builds(ScheduleSection, name=st.just("constant"), warmup_epochs=st.floats(0, 9)),
    st.builds(
        ScheduleSection,
        name=st.just("steps"),
        at_epochs=st.sets(st.integers(1, 19), min_size=1).map(lambda result: tuple(sorted(result))),
        factor=st.floats(0.01, 0.9),
        warmup_epochs=st.floats(0, 9),
    ),
)


@given(schedules, st.floats(0, 19.999), st.floats(1e-4, 10))
def test_rate_is_between_zero_and_the_base(section, epoch, base):
    assert 0 <= learning_rate(base, section, epoch=epoch, epochs=20) <= base * (1 + 1e-12)


@given(schedules, st.floats(0, 19.9), st.floats(0, 0.099))
def test_rate_never_rises_after_the_warm_up(section, epoch, later):
    if epoch < section.warmup_epochs:
        return
    first, second = (learning_rate(1.0, section, epoch=at, epochs=20) for at in (epoch, epoch + later))
    assert second <= first


@given(schedules, st.floats(0, 19.9), st.floats(1e-3, 10))
def test_rate_is_proportional_to_the_base(section, epoch, base):
    unit_rate = learning_rate(1.0, section, epoch=epoch, epochs=20)
    assert learning_rate(base, section, epoch=epoch, epochs=20) == pytest.approx(base * unit_rate)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0), (2.5, 0.5), (5, 1), (12.5, 0.5), (20, 0), (10, 0.5 * (1 + math.cos(math.pi / 3)))],
)
def test_cosine_by_hand(epoch, expected):
    assert learning_rate(1.0, COSINE, epoch=epoch, epochs=20) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1), (9.99, 1), (10, 0.1), (19.99, 0.1), (20, 0.01), (29.9, 0.01)]
)
def test_steps_by_hand(epoch, expected):
    assert learning_rate(1.0, STEPS, epoch=epoch, epochs=30) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup", "peak"),
    [(0.0, 6.0), (4.0, 4.0)],
)
def test_one_cycle_is_torchs(warmup, peak):
    section = ScheduleSection(name="one_cycle", warmup_epochs=warmup)
    steps, epochs = 20, 20
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.7, total_steps=epochs * steps + 1, pct_start=(peak * steps + 1) / (epochs * steps + 1)
    )
    for step in range(epochs * steps):
        ours = learning_rate(0.7, section, epoch=step / steps, epochs=epochs)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        theirs.step()


def test_constant_is_constant_from_the_first_step():
    section = ScheduleSection(name="constant")
    assert {learning_rate(0.3, section, epoch=at, epochs=3) for at in (0, 0.5, 2.9)} == {0.3}


def test_optimizers_have_the_settings_of_the_section():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    sgd = optimizer_for(module, OptimizerSection(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01))
    assert isinstance(sgd, torch.optim.SGD)
    (group,) = sgd.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 0.01)
    assert len(group["params"]) == 2
    adamw = optimizer_for(module, OptimizerSection(name="adamw", lr=0.1, weight_decay=0.02))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["weight_decay"] == 0.02


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_pretrained_layers_learn_at_their_share_of_the_rate(name):
    body, head = nn.Linear(3, 3), nn.Linear(3, 2)
    section = OptimizerSection(name=name, lr=0.1, pretrained_lr_factor=0.25)
    optimizer = optimizer_for(nn.Sequential(body, head), section, list(body.parameters()))
    found = {id(one): group["factor"] for group in optimizer.param_groups for one in group["params"]}
    assert found == {id(one): 0.25 for one in body.parameters()} | {id(one): 1.0 for one in head.parameters()}


def test_nesterov_without_momentum_is_refused_and_adamw_has_neither():
    with pytest.raises(ValueError, match="nesterov needs momentum above 0"):
        OptimizerSection(lr=0.1, momentum=0.0, nesterov=True)
    plain = OptimizerSection(name="adamw", lr=0.1).model_dump(mode="json")
    assert "momentum" not in plain
    assert OptimizerSection.model_validate(plain).name == "adamw"
