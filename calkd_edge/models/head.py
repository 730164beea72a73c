"""The head of a classifier: what of a network depends on the number of classes, and what does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from calkd_edge.errors import RecipeError
from calkd_edge.models import MODELS
from calkd_edge.models.forms import ImageShape


def head_names(
    name: str, settings: Mapping[str, Any], num_classes: int, image_shape: ImageShape
) -> frozenset[str]:
    """Names in the state dict whose shape follows the number of classes.

    Found by building the network for one class more, without memory for its weights.

    Raises:
        RecipeError: there are none, as in a network that ignores the number of classes.
    """
    shapes = []
    with torch.device("meta"):
        for classes in (num_classes, num_classes + 1):
            backbone: nn.Module = MODELS.load(name)(classes, image_shape, **settings)
            shapes.append({key: tensor.shape for key, tensor in backbone.state_dict().items()})
    names = frozenset(key for key, shape in shapes[0].items() if shapes[1].get(key) != shape)
    if not names:
        raise RecipeError(
            f"the model '{name}' has no layer that follows the number of classes, so no head to replace",
            remedy="Take `weights: FILE` in place of `pretrained`.",
        )
    return names


def body(backbone: nn.Module, head: Collection[str]) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """Everything of a network but its head: the largest modules without any of it, and all parameters.

    Args:
        backbone: the network.
        head: names of its head's parameters.
    """
    modules: list[nn.Module] = []

    def collect(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f"{prefix}{name}."
            if any(key.startswith(path) for key in head):
                collect(child, path)
            else:
                modules.append(child)

    collect(backbone, "")
    return modules, [parameter for name, parameter in backbone.named_parameters() if name not in head]
