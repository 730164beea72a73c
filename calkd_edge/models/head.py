"""The head of a classifier: the parameters that depend on the number of classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import torch
from torch import nn

from calkd_edge.errors import RecipeError
from calkd_edge.models import MODELS
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.without_weights import without_weights


def head_names(
    name: str, settings: Mapping[str, object], num_classes: int, image_shape: ImageShape
) -> frozenset[str]:
    """Names in the state dict whose shape depends on the number of classes.

    The function builds the network twice, the second time with one more class, on torch's meta device.

    Raises:
        RecipeError: no shape depends on the number of classes.
    """
    shapes = []
    for classes in (num_classes, num_classes + 1):
        backbone = without_weights(partial(MODELS.load(name), classes, image_shape, **settings))
        shapes.append({key: tensor.shape for key, tensor in backbone.state_dict().items()})
    names = frozenset(key for key, shape in shapes[0].items() if shapes[1].get(key) != shape)
    if not names:
        raise RecipeError(
            f"the model '{name}' has no layer that depends on the number of classes, so no head to replace",
            remedy="Use `weights: FILE` instead of `pretrained`.",
        )
    return names


def body(backbone: nn.Module, head: Collection[str]) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """Everything except the head: the largest modules that contain no part of it, and all other parameters.

    Args:
        backbone: the network.
        head: names of the head's parameters.
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


def shrink(backbone: nn.Module, head: Collection[str], factor: float) -> None:
    """Multiply the head's parameters, so that a new one begins with nearly equal probabilities.

    Behind pretrained layers, whose features are large, a head drawn as its library draws it begins with
    confident wrong answers, and the first steps undo the pretrained layers instead of using them. The factor
    is not 0: where an activation function follows the head, no gradient would reach it.

    Args:
        backbone: the network, changed in place.
        head: names of the head's parameters.
        factor: above 0.
    """
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name in head:
                parameter.mul_(factor)
