"""The optimizer and the learning rate of a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from calkd_edge.recipe import OptimizerSection, ScheduleSection


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

    Linear from 0 over the warm-up; then constant, a cosine down to 0 at the end (Loshchilov and Hutter,
    "SGDR", ICLR
    2017, without restarts), or times `factor` at each of `at_epochs`.
    """
    if epoch < section.warmup_epochs:
        return base * epoch / section.warmup_epochs
    if section.name == "cosine":
        done = (epoch - section.warmup_epochs) / (epochs - section.warmup_epochs)
        return base * 0.5 * (1.0 + math.cos(math.pi * done))
    if section.name == "steps":
        return base * section.factor ** sum(epoch >= at for at in section.at_epochs)
    return base
