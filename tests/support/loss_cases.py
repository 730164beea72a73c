"""Losses built as by a recipe, and a random step for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Context, Outputs, Step

CLASSES, ROWS, IMAGES = 7, 5, 40
STUDENT_SHAPES = {"early": (6, 8, 8), "late": (4, 4, 4), "embedding": (12,), "tokens": (16, 12)}
TEACHER_SHAPES = {"early": (5, 8, 8), "late": (10, 4, 4), "embedding": (9,), "tokens": (16, 9)}


def context_of(student_shapes=STUDENT_SHAPES, teacher_shapes=TEACHER_SHAPES, *, images=IMAGES) -> Context:
    """Seven classes, 10 epochs; linear heads read the late maps, and norms precede the teacher's maps."""
    ours = {"head": nn.Linear(student_shapes["late"][0], CLASSES)}
    channels = {name: shape[0] for name, shape in teacher_shapes.items()}
    theirs = {
        "head": nn.Linear(channels["late"], CLASSES),
        "norm_early": settled_norm(channels["early"]),
        "norm_late": settled_norm(channels["late"]),
    }
    return Context(
        num_classes=CLASSES,
        train_images=images,
        epochs=10,
        student_shape=student_shapes.__getitem__,
        teacher_shape=teacher_shapes.__getitem__,
        student_module=ours.__getitem__,
        teacher_module=theirs.__getitem__,
    )


def settled_norm(channels):
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


CONTEXT = context_of()
LATE = {"student": "late", "teacher": "late"}
POOLED = {"student": "embedding", "teacher": "embedding"}
STAGES = {"student": ["early", "late"], "teacher": ["early", "late"]}
HEADS = {"student_classifier": "head", "teacher_classifier": "head"}
SETTINGS = {
    "cross_entropy": [{}, {"label_smoothing": 0.1}],
    "kd": [{}, {"temperature": 1.0}, {"standardize": True, "temperature": 2.0}],
    "dkd": [
        {"warmup_epochs": 0.0},
        {"alpha": 0.5, "beta": 2.0, "temperature": 2.0, "warmup_epochs": 0.0},
        {"standardize": True, "temperature": 2.0, "warmup_epochs": 0.0},
    ],
    "dist": [{}, {"beta": 2.0, "gamma": 0.5, "temperature": 1.0}],
    "nkd": [{}, {"gamma": 1.5, "temperature": 1.0}],
    "mlkd": [{}, {"masks": False, "temperatures": [1.0, 3.0]}, {"standardize": True}],
    "ctkd": [{}, {"lowest_temperature": 2.0, "temperature_span": 5.0, "initial": -1.0}],
    "ttm": [{}, {"power": 0.5}],
    "wttm": [{}, {"power": 0.5}],
    "hint": [LATE, POOLED, {"student": "late", "teacher": "embedding"}],
    "at": [STAGES, {**STAGES, "power": 1.5}],
    "nst": [STAGES, {**STAGES, "kernel": "linear"}, {**STAGES, "kernel": "gaussian"}],
    "pkt": [POOLED, LATE],
    "sp": [LATE, POOLED],
    "rkd": [POOLED, LATE],
    "vid": [STAGES, {"student": ["embedding"], "teacher": ["embedding"]}],
    "ofd": [{**STAGES, "teacher_norms": ["norm_early", "norm_late"]}],
    "crd": [{**POOLED, "size": 3, "negatives": 16}, {**LATE, "size": 3, "negatives": 64}],
    "reviewkd": [
        {
            "student": ["early", "late", "embedding"],
            "teacher": ["early", "late", "embedding"],
            "warmup_epochs": 0.0,
        }
    ],
    "cat_kd": [{**LATE, **HEADS}],
}
CASES = [(name, arguments) for name, choices in SETTINGS.items() for arguments in choices]
ON_LOGITS = ("kd", "dkd", "dist", "nkd", "mlkd", "ctkd", "ttm", "wttm")
LOGIT_CASES = [case for case in CASES if case[0] in ON_LOGITS]
FEATURE_CASES = [case for case in CASES if case[0] not in (*ON_LOGITS, "cross_entropy")]


def build(name, arguments, context=CONTEXT):
    torch.manual_seed(1)
    return LOSSES.load(name)(context, **LOSSES.settings(name, arguments, where="test"))


def settled(name, arguments):
    """In evaluation mode and float64, after one step in training mode: statistics, banks and Z are set."""
    loss = build(name, arguments).double()
    loss(drawn_step(seed=8))
    return loss.eval()


def features_of(shapes, rows, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {
        tap: torch.randn(rows, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for tap, shape in shapes.items()
    }


def drawn_step(seed=0, *, rows=ROWS, scale=3.0, epoch=0.0, dtype=torch.float64) -> Step:
    """Logits and features of both networks; the student's are leaves that require gradients."""
    student, teacher, labels = drawn(seed, scale=scale, rows=rows)
    ours = features_of(STUDENT_SHAPES, rows, seed + 100, dtype)
    theirs = features_of(TEACHER_SHAPES, rows, seed + 200, dtype)
    indices = torch.from_numpy(np.random.default_rng(seed).permutation(IMAGES)[:rows])
    step = Step(
        Outputs(torch.tensor(student, dtype=dtype), ours),
        Outputs(torch.tensor(teacher, dtype=dtype), theirs),
        torch.tensor(labels),
        indices,
        epoch,
    )
    for leaf in leaves(step):
        leaf.requires_grad_()
    return step


def leaves(step):
    return [step.student.logits, *step.student.features.values()]


def gradients(step):
    """The student's gradients as a vector."""
    return torch.cat([leaf.grad.ravel() for leaf in leaves(step) if leaf.grad is not None])


def with_logits(step, student=None, teacher=None):
    return replace(
        step,
        student=replace(step.student, logits=step.student.logits if student is None else student),
        teacher=replace(step.teacher, logits=step.teacher.logits if teacher is None else teacher),
    )


def with_features(step, student=None, teacher=None):
    return replace(
        step,
        student=replace(step.student, features=step.student.features if student is None else student),
        teacher=replace(step.teacher, features=step.teacher.features if teacher is None else teacher),
    )


def drawn(seed=0, *, scale=3.0, classes=CLASSES, rows=ROWS):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(2, rows, classes)) * scale
    return logits[0], logits[1], generator.integers(0, classes, rows)
