"""timm's models by name, for use as teachers, where timm is installed.

timm is imported when one of its models is named: it takes a second to load.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from torch import nn

from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_sizes import refusing_image_size


def timm_model(num_classes: int, image_shape: ImageShape, *, architecture: str) -> nn.Module:
    """A classification model from timm by its architecture name, untrained.

    Raises:
        EnvironmentProblem: timm is not installed.
        RecipeError: timm has no model of that name, or it cannot take such images.
    """
    timm = import_timm(architecture)
    known = timm.list_models()
    if architecture.partition(".")[0] not in known:  # a dot starts the tag of published weights
        raise RecipeError(
            f"timm has no model named '{architecture}'",
            remedy=f"{did_you_mean(architecture, known)}List them with: python -c 'import timm; "
            "print(timm.list_models())'.",
        )
    published = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    # A transformer is built for one image size; a convolutional network accepts any.
    is_fixed = published is not None and published.fixed_input_size
    size = {"img_size": image_shape[1:]} if is_fixed else {}
    with refusing_image_size(architecture, image_shape):
        net: nn.Module = timm.create_model(architecture, num_classes=num_classes, **size)
    return net


def import_timm(architecture: str) -> ModuleType:
    """The module timm.

    Args:
        architecture: the model that needs it, for the message.

    Raises:
        EnvironmentProblem: timm is not installed.
    """
    try:
        return import_module("timm")
    except ImportError as absent:
        raise EnvironmentProblem(
            f"the model '{architecture}' needs timm, which is not installed",
            remedy="Install it: pip install 'calkd-edge[timm]'",
        ) from absent
