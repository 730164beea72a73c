"""torchvision's classification models by name, for use as teachers."""

from __future__ import annotations

from torch import nn
from torchvision import models

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_sizes import refusing_image_size


def torchvision_model(num_classes: int, image_shape: ImageShape, *, architecture: str) -> nn.Module:
    """A classification model from torchvision by its architecture name, untrained.

    Raises:
        RecipeError: torchvision has no classification model of that name, or it cannot take such images.
    """
    known = models.list_models(module=models)
    if architecture not in known:
        raise RecipeError(
            f"torchvision has no classification model named '{architecture}'",
            remedy=f"{did_you_mean(architecture, known)}Valid: {', '.join(known)}.",
        )
    extra: dict[str, object] = {}
    if architecture in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": True}
    elif architecture.startswith("vit_"):
        extra = {"image_size": image_shape[1]}
    with refusing_image_size(architecture, image_shape):
        net: nn.Module = models.get_model(architecture, weights=None, num_classes=num_classes, **extra)
    return net
