"""The optimizer and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from calkd_edge.recipe.training import OptimizerSection, ScheduleSection

ONE_CYCLE_RISES = 0.3
"""Fraction of the epochs in which a one-cycle schedule rises when the recipe sets no warm-up."""

ONE_CYCLE_FIRST, ONE_CYCLE_LAST = 25.0, 250_000.0
"""The peak rate divided by the first rate, and by the last rate."""


def optimizer_for(
    module: nn.Module, section: OptimizerSection, pretrained: Collection[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimizer over a module's trainable parameters; weight decay applies to all of them.

    Each of its groups has a `factor` of the learning rate.

    Args:
        module: the network, with the layers of its losses.
        section: of the recipe.
        pretrained: parameters that learn at `pretrained_lr_factor` of the rate.
    """
    slow = {id(parameter) for parameter in pretrained} if section.pretrained_lr_factor < 1 else set()
    by_factor: dict[float, list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            factor = section.pretrained_lr_factor if id(parameter) in slow else 1.0
            by_factor.setdefault(factor, []).append(parameter)
    parameters: Any = [{"params": chosen, "factor": factor} for factor, chosen in by_factor.items()]
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
    """The value between start and end along half a cosine, at a fraction `share` in 0..1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
