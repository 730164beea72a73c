"""Losses of mixed images: losses that read labels average over both; others are computed once."""

from __future__ import annotations

import torch
from loss_cases import CONTEXT
from torch.nn import functional as F

from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Outputs, Step
from calkd_edge.losses.objective import WeightedLosses


def test_losses_of_mixed_images_average_over_both_labels():
    objective = WeightedLosses([(name, 1.0, LOSSES.load(name)(CONTEXT)) for name in ("cross_entropy", "kd")])
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 6, 4, generator=generator).unbind()
    labels, others = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 2, 3, 0])
    step = Step(Outputs(student, {}), Outputs(teacher, {}), labels, torch.arange(6), 0.0)
    terms = objective.mixed(step, others, torch.tensor(0.3, dtype=torch.float64))
    target = 0.3 * F.one_hot(labels, 4) + 0.7 * F.one_hot(others, 4)
    assert torch.allclose(terms["cross_entropy"], F.cross_entropy(student, target))
    assert torch.equal(terms["kd"], objective(step)["kd"])
