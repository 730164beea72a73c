"""The optimizer and the learning rate of a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from calkd_edge.recipe.training import OptimizerSection, ScheduleSection

ONE_CYCLE_RISES = 0.3
"""Share of the epochs in which a one-cycle schedule rises when no warm-up is given."""

ONE_CYCLE_FIRST, ONE_CYCLE_LAST = 25.0, 250_000.0
"""By how much its first and its last rate lie below its peak."""


def optimizer_for(module: nn.Module, section: OptimizerSection) -> torch.optim.Optimizer:
    """The optimizer over a module's trainable parameters; every one decays, as in the field's protocol."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if section.name == "adamw":
        return torch.optim.AdamW(parameters, lr=section.lr, weight_decay=section.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=section.lr,
        momentum=section.momentum,
        nesterov=section.nesterov,
        weight_decay=section.weight_decay,
    )


def learning_rate(base: float, section: ScheduleSection, *, epoch: float, epochs: int) -> float:
    """The learning rate at a fractional epoch in [0, epochs).

    constant, cosine and steps rise linearly from 0 over the warm-up; then the rate stays, follows a cosine
    down to 0 at the end (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts), or is multiplied by
    `factor` at each of `at_epochs`. one_cycle follows a cosine from base / 25 up to base over the warm-up,
    and another down to base / 250,000 at the end (Smith and Topin, "Super-Convergence", 2018, arXiv
    1708.07120).
    """
    if section.name == "one_cycle":
        rising = section.warmup_epochs or ONE_CYCLE_RISES * epochs
        if epoch < rising:
            return _cosine(base / ONE_CYCLE_FIRST, base, epoch / rising)
        return _cosine(base, base / ONE_CYCLE_LAST, (epoch - rising) / (epochs - rising))
    if epoch < section.warmup_epochs:
        return base * epoch / section.warmup_epochs
    if section.name == "cosine":
        return _cosine(base, 0.0, (epoch - section.warmup_epochs) / (epochs - section.warmup_epochs))
    if section.name == "steps":
        return base * section.factor ** sum(epoch >= at for at in section.at_epochs)
    return base


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine, at a share in 0..1 of the way."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
