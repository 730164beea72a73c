"""Relational knowledge distillation: distances and angles between the images of a batch."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, direction, pooled, vector_size


def rkd_loss(student: Tensor, teacher: Tensor, *, distance_weight: float, angle_weight: float) -> Tensor:
    """distance_weight * RKD-D + angle_weight * RKD-A, each a Huber loss, mean over pairs and over triplets.

    Distances are divided by the mean distance between images with different embeddings; the angle of a
    triplet is the cosine at its corner. Images with the same embedding have distance 0 and no angle.

    Args:
        student: [B, D].
        teacher: [B, D'].
        distance_weight: of the B * B distances.
        angle_weight: of the B * B * B angles; memory grows with the cube of the batch.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019 (arXiv 1904.05068), RKD-DA.
    """
    (ours, our_angles), (theirs, their_angles) = _relations(student), _relations(teacher)
    distances = F.smooth_l1_loss(ours, theirs)
    angles = F.smooth_l1_loss(our_angles, their_angles)
    return distance_weight * distances + angle_weight * angles


def _relations(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B, B] divided by their mean, and cosines [B, B, B] at the first image."""
    apart = embeddings[None] - embeddings[:, None]
    unit = direction(apart, 2)
    distance = (apart * unit).sum(2)  # the norm, with gradient 0 at 0
    count = (distance > 0).sum().clamp_min(1)
    mean = distance.sum() / count
    relative = distance / torch.where(mean > 0, mean, torch.ones_like(mean))
    return relative, unit @ unit.mT


class RKD(FeatureLoss):
    """Huber loss on the distances and angles between the embeddings of a batch's images.

    Published for CIFAR-100 with weight 1 beside 1 of cross-entropy, and 25 and 50 for its parts, on the
    pooled embedding.

    Args:
        context: its shapes are checked.
        student: tap of the student; a map is averaged over its pixels.
        teacher: tap of the teacher, likewise.
        distance_weight: of the part on pairs.
        angle_weight: of the part on triplets.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019 (arXiv 1904.05068), RKD-DA.
    """

    def __init__(
        self,
        context: Context,
        *,
        student: str,
        teacher: str,
        distance_weight: Annotated[float, Field(ge=0)] = 25.0,
        angle_weight: Annotated[float, Field(ge=0)] = 50.0,
    ) -> None:
        super().__init__((student,), (teacher,))
        self.distance_weight, self.angle_weight = distance_weight, angle_weight
        vector_size(context.student_shape(student), student, "rkd")
        vector_size(context.teacher_shape(teacher), teacher, "rkd")

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        ((student, teacher),) = self.pairs(step)
        return rkd_loss(
            pooled(student),
            pooled(teacher),
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
        )
