"""No step waits for a number: every loss computes on a device from which none can be read.

Tensors on the device "meta" have shapes and no values: whatever needs one, to branch or to size a result,
ends in an error. Two steps of different epochs must also be the same operations with the same Python numbers:
one that changes would be that of the first step in every repetition of a recorded one.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from loss_cases import CASES, build, context_of, drawn_step
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from calkd_edge.losses.base import Loss, Outputs
from calkd_edge.losses.objective import WeightedLosses
from calkd_edge.stages.teacher import Supervised
from calkd_edge.training.batch import Batch
from calkd_edge.training.step_tensors import LossSums, StepNumbers

NOWHERE = torch.device("meta")
MOMENTS = [(1.25, 0.3), (7.75, 0.8)]
"""Epoch and share of two steps."""


@pytest.fixture(autouse=True)
def _meta_has_no_autocast(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: nullcontext())


class Operations(TorchDispatchMode):
    """Lists operations with their arguments; of a tensor, its shape and type."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        described = torch.utils._pytree.tree_map_only(
            torch.Tensor, lambda tensor: (tensor.shape, tensor.dtype), (arguments, named)
        )
        self.calls.append((str(function), repr(described)))
        return function(*arguments, **(named or {}))


def on_meta(outputs):
    return Outputs(
        outputs.logits.detach().to(NOWHERE).requires_grad_(outputs.logits.requires_grad),
        {
            tap: value.detach().to(NOWHERE).requires_grad_(value.requires_grad)
            for tap, value in outputs.features.items()
        },
    )


def operations(objective, numbers, epoch, share):
    """Those of a step of mixed images where the losses take them, forward and backward."""
    step = drawn_step(dtype=torch.float32)
    step = replace(
        step,
        student=on_meta(step.student),
        teacher=on_meta(step.teacher),
        labels=step.labels.to(NOWHERE),
        indices=step.indices.to(NOWHERE),
        epoch=epoch,
        filled=numbers.epoch,
    )
    numbers.fill(epoch, share)
    sums = LossSums()
    with Operations() as recorded:
        if all(loss.takes_mixed for loss in objective.losses):
            terms = objective.mixed(step, step.labels, numbers.share)
        else:
            terms = objective(step)
        stacked = torch.stack(list(terms.values()))
        stacked.sum().backward()
        sums.add(terms, stacked)
    return recorded.calls


def check(loss, *other_modules):
    objective, numbers = WeightedLosses([("loss", 0.5, loss)]).to(NOWHERE), StepNumbers(NOWHERE)
    recorded = []
    for moment in MOMENTS:
        for module in (objective, *other_modules):
            module.zero_grad()
        recorded.append(operations(objective, numbers, *moment))
    first, second = recorded
    assert len(first) > 5
    assert first == second


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_no_loss_reads_a_number_or_is_built_for_one(name, arguments):
    warm = {"warmup_epochs": 20.0} if "warmup_epochs" in arguments else {}
    context = context_of()
    heads = [module("head").to(NOWHERE) for module in (context.student_module, context.teacher_module)]
    check(build(name, {**arguments, **warm}, context), *heads)


class Branching(Loss):
    def forward(self, step):
        share = 1.0 if step.epoch_on_device > 3 else 0.5
        return share * step.student.logits.mean()


class Masking(Loss):
    def forward(self, step):
        logits = step.student.logits
        return logits[logits > 0].mean()


class Baked(Loss):
    def forward(self, step):
        return step.epoch * step.student.logits.square().mean()


@pytest.mark.parametrize("loss", [Branching, Masking, Baked])
def test_the_rule_refuses_a_loss_that_breaks_it(loss):
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        check(loss())


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_teachers_step_of_mixed_images_reads_no_number(gamma):
    module = Supervised(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), focal_gamma=gamma).to(NOWHERE)
    labels, numbers, recorded = torch.zeros(4, dtype=torch.int64, device=NOWHERE), StepNumbers(NOWHERE), []
    for epoch, share in MOMENTS:
        batch = Batch(torch.zeros(4, 3, 2, 2, device=NOWHERE), labels, labels, epoch, None, labels, share)
        batch = batch.with_numbers(numbers)
        with Operations() as operations:
            module(batch)["cross_entropy"].backward()
        recorded.append(operations.calls)
        module.zero_grad()
    assert recorded[0] == recorded[1]


def test_numbers_are_those_of_the_batch_wherever_it_is_used():
    labels = torch.zeros(2, dtype=torch.int64)
    batch = Batch(torch.zeros(2, 3, 2, 2), labels, labels, 1 / 3, share=0.1)
    numbers = StepNumbers(torch.device("cpu"))
    for seen in (batch.on_device, batch.with_numbers(numbers).on_device):
        assert (seen.epoch.item(), seen.share.item()) == (1 / 3, 0.1)  # in float64, not rounded
    replace(batch, epoch=2.0).with_numbers(numbers)
    assert numbers.epoch.item() == 2.0
