"""Losses as a recipe would build them, and one drawn step for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Context, Outputs, Step


def context_of(student_shape, teacher_shape) -> Context:
    """Seven classes, 40 training images, 10 epochs, and one shape of feature for each network."""
    return Context(
        num_classes=7,
        train_images=40,
        epochs=10,
        student_shape=lambda path: student_shape,
        teacher_shape=lambda path: teacher_shape,
        student_module=lambda path: nn.Linear(student_shape[0], 7),
        teacher_module=lambda path: nn.Linear(teacher_shape[0], 7),
    )


CONTEXT = context_of((6, 8, 8), (10, 4, 4))
ROWS = 5
SETTINGS = {
    "cross_entropy": [{}, {"label_smoothing": 0.1}],
    "kd": [{}, {"temperature": 1.0}],
    "dkd": [{"warmup_epochs": 0.0}, {"alpha": 0.5, "beta": 2.0, "temperature": 2.0, "warmup_epochs": 0.0}],
    "hint": [{"student": "layer2", "teacher": "layer3"}],
}
CASES = [(name, given) for name, choices in SETTINGS.items() for given in choices]


def build(name, given):
    torch.manual_seed(1)
    return LOSSES.load(name)(CONTEXT, **LOSSES.settings(name, given, where="test"))


def step(student, teacher, labels, *, epoch=0.0, features=None) -> Step:
    generator = torch.Generator().manual_seed(2)
    own = torch.randn(len(labels), 6, 8, 8, generator=generator) if features is None else features
    theirs = torch.randn(len(labels), 10, 4, 4, generator=generator)
    return Step(
        Outputs(student, {"layer2": own}),
        Outputs(teacher, {"layer3": theirs}),
        labels,
        torch.arange(len(labels)),
        epoch,
    )


def drawn(seed=0, *, scale=3.0, classes=7):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(2, ROWS, classes)) * scale
    return logits[0], logits[1], generator.integers(0, classes, ROWS)


def tensors(student, teacher, labels, *, dtype=torch.float32):
    return (
        torch.tensor(student, dtype=dtype, requires_grad=True),
        torch.tensor(teacher, dtype=dtype),
        torch.tensor(labels),
    )
