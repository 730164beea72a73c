"""The feature taps of a recipe's losses, checked before anything trains: one step on blank images.

In scope: whether losses that read features can be built and run on these two networks. Out of scope: data,
weights, training.
"""

from __future__ import annotations

from collections.abc import Sequence

from calkd_edge.errors import RecipeError
from calkd_edge.models.forms import ImageShape
from calkd_edge.records import Component, LossComponent

_CLASSES, _ROWS = 2, 2


def check_taps(
    student: Component,
    teacher: Component,
    losses: Sequence[LossComponent],
    image_shape: ImageShape,
    *,
    where: str,
) -> None:
    """Build both networks for two classes, then each loss, and run one step.

    Args:
        student: the student's model.
        teacher: the teacher's model.
        losses: the terms of the student's loss.
        image_shape: (3, H, W) of the data.
        where: the recipe's file.

    Raises:
        RecipeError: a tap that leads nowhere, or to a feature that its loss cannot read, with its path; or a
            network that cannot take such images.
    """
    # Imported here: most recipes have no loss that reads features, and are planned without these modules.
    import torch

    from calkd_edge.models import MODELS
    from calkd_edge.models.image_model import ImageModel
    from calkd_edge.models.image_sizes import refusing_image_size
    from calkd_edge.records import Affine
    from calkd_edge.stages.distillation import Distillation, build_losses
    from calkd_edge.training.batch import Batch

    def network(component: Component) -> ImageModel:
        backbone = MODELS.load(component.name)(_CLASSES, image_shape, **component.settings)
        model = ImageModel(backbone, (0.5,) * 3, (0.25,) * 3).eval()
        name = str(component.settings.get("architecture", component.name))
        with torch.no_grad(), refusing_image_size(name, image_shape, f"{where}: "):
            model(torch.zeros(1, *image_shape, dtype=torch.uint8))
        return model

    teacher_network, student_network = network(teacher), network(student)
    blank = Batch(
        images=torch.zeros(_ROWS, *image_shape, dtype=torch.uint8),
        labels=torch.zeros(_ROWS, dtype=torch.int64),
        indices=torch.arange(_ROWS),
        epoch=0.0,
    )
    for index, loss in enumerate(losses):
        try:
            term = build_losses(
                [loss],
                student_network,
                teacher_network,
                num_classes=_CLASSES,
                image_shape=image_shape,
                train_images=_ROWS,
                epochs=1,
            )
            Distillation(student_network, term, teacher_network, Affine(scale=(1.0,))).eval()(blank)
        except RecipeError as refused:
            raise RecipeError(
                f"{where}: distill.losses[{index}]: {refused}", remedy=refused.remedy
            ) from refused
