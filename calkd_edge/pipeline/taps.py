"""A recipe's taps tried out before anything trains: one step of untrained networks on blank images.

In scope: whether losses that read features can be built and run on these two networks. Out of scope: data,
weights, training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from calkd_edge.errors import RecipeError
from calkd_edge.models import MODELS
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_model import ImageModel
from calkd_edge.records import Affine
from calkd_edge.stages.distill import Distillation, build_losses
from calkd_edge.training.loop import Batch

_CLASSES, _ROWS = 2, 2


def try_taps(
    student: Mapping[str, Any],
    teacher: Mapping[str, Any],
    losses: Sequence[Mapping[str, Any]],
    image_shape: ImageShape,
    *,
    where: str,
) -> None:
    """Build both networks for two classes, then each loss, and let it see one step.

    Args:
        student: {"name", "settings"} of the student's model.
        teacher: the same of the teacher's.
        losses: {"name", "weight", "settings"} of each term.
        image_shape: (3, H, W) of the data.
        where: the recipe's file.

    Raises:
        RecipeError: a tap that leads nowhere, or to a feature that its loss cannot read, with its place.
    """
    taught, learner = _network(teacher, image_shape), _network(student, image_shape)
    blank = Batch(
        images=torch.zeros(_ROWS, *image_shape, dtype=torch.uint8),
        labels=torch.zeros(_ROWS, dtype=torch.int64),
        indices=torch.arange(_ROWS),
        epoch=0.0,
    )
    for place, loss in enumerate(losses):
        try:
            term = build_losses(
                [loss],
                learner,
                taught,
                num_classes=_CLASSES,
                image_shape=image_shape,
                train_images=_ROWS,
                epochs=1,
            )
            Distillation(learner, term, taught, Affine(scale=(1.0,))).eval()(blank)
        except RecipeError as refused:
            raise RecipeError(
                f"{where}: distill.losses[{place}]: {refused}", remedy=refused.remedy
            ) from refused


def _network(chosen: Mapping[str, Any], image_shape: ImageShape) -> ImageModel:
    backbone = MODELS.load(chosen["name"])(_CLASSES, image_shape, **chosen["settings"])
    return ImageModel(backbone, (0.5,) * 3, (0.25,) * 3).eval()
