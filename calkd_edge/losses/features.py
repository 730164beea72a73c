"""The base of losses on features: pairs of taps, checks of shapes, and normalisation that is safe at zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.errors import RecipeError
from calkd_edge.losses.base import Loss, Step, TeacherEffect, full_precision
from calkd_edge.records import Affine

Taps = Annotated[tuple[str, ...], Field(min_length=1)]
"""Module paths, or PATH:input, from the shallowest to the deepest."""

_TINY = 1e-12


class FeatureLoss(Loss):
    """A loss on pairs of features; it reads neither the teacher's logits nor the labels.

    Args:
        student: taps of the student.
        teacher: as many taps of the teacher.

    Raises:
        RecipeError: the numbers of taps differ.
    """

    uses_teacher = False
    uses_labels = False

    def __init__(self, student: Sequence[str], teacher: Sequence[str]) -> None:
        super().__init__()
        if len(student) != len(teacher):
            raise RecipeError(
                f"{type(self).__name__}: `student` names {len(student)} taps and `teacher` {len(teacher)}",
                remedy="Name equally many: the first is compared with the first, and so on.",
            )
        self.student_taps, self.teacher_taps = tuple(student), tuple(teacher)

    def pairs(self, step: Step) -> list[tuple[Tensor, Tensor]]:
        """The student's and the teacher's feature at each pair of taps, in float32 or better."""
        return [
            (
                full_precision(step.student.features[student_tap]),
                full_precision(step.teacher.features[teacher_tap]).detach(),
            )
            for student_tap, teacher_tap in zip(self.student_taps, self.teacher_taps, strict=True)
        ]

    def teacher_effect(self, affine: Affine) -> TeacherEffect:
        """None: calibration changes the logits, not the features."""
        return TeacherEffect(
            "no_op",
            f"{type(self).__name__} reads features before the logits, which calibration does not change",
        )


def map_channels(shape: tuple[int, ...], tap: str, loss: str, *, or_vector: bool = False) -> int:
    """C of a map [C, H, W]; with `or_vector`, also D of a vector [D], which counts as a map of one pixel.

    Raises:
        RecipeError: the feature has another shape.
    """
    if len(shape) == 3 or (or_vector and len(shape) == 1):
        return shape[0]
    raise _shape_error(shape, tap, loss, "maps [C, H, W]" + (" or vectors [D]" if or_vector else ""))


def vector_size(shape: tuple[int, ...], tap: str, loss: str) -> int:
    """D of a vector [D], or C of a map [C, H, W], which is then averaged over its pixels.

    Raises:
        RecipeError: the feature has another shape.
    """
    if len(shape) in (1, 3):
        return shape[0]
    raise _shape_error(shape, tap, loss, "vectors [D] or maps [C, H, W], which it averages")


def _shape_error(shape: tuple[int, ...], tap: str, loss: str, expected: str) -> RecipeError:
    tokens = len(shape) == 2
    return RecipeError(
        f"{loss}: the feature at '{tap}' has the shape {list(shape)}{' (tokens)' if tokens else ''}, "
        f"but this loss compares {expected}",
        remedy="Tap a convolutional stage, or the input of the classifier: its path and `:input`.",
    )


def as_map(feature: Tensor) -> Tensor:
    """[B, C, H, W] as it is; [B, D] as [B, D, 1, 1]."""
    return feature[:, :, None, None] if feature.dim() == 2 else feature


def pooled(feature: Tensor) -> Tensor:
    """[B, D] as it is; [B, C, H, W] averaged to [B, C]."""
    return feature.mean((2, 3)) if feature.dim() == 4 else feature


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps, average-pooled to the smaller height and width of both; a map of that size is unchanged."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    return averaged_cells(first, size), averaged_cells(second, size)


def averaged_cells(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [B, C, H, W], averaged over cells to [B, C, *size]; the map itself if it has that size.

    CUDA's gradient of adaptive pooling adds in an order that differs from run to run; where the cells are
    equal, a mean over them gives the same without it.
    """
    if feature.shape[2:] == size:
        return feature
    if feature.is_cuda and feature.shape[2] % size[0] == 0 and feature.shape[3] % size[1] == 0:
        return equal_cells(feature, size)
    return F.adaptive_avg_pool2d(feature, size)


def equal_cells(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [B, C, H, W], averaged over cells to [B, C, *size]; H and W are multiples of the size."""
    down, across = feature.shape[2] // size[0], feature.shape[3] // size[1]
    return feature.reshape(*feature.shape[:2], size[0], down, size[1], across).mean((3, 5))


def direction(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along `dim` normalized to length 1; the zero vector stays and gets no gradient."""
    squared = vectors.square().sum(dim, keepdim=True)
    is_zero = squared <= _TINY**2
    inverse = torch.where(is_zero, torch.ones_like(squared), squared).rsqrt()
    return vectors * torch.where(is_zero, torch.zeros_like(inverse), inverse)
