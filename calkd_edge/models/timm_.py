"""timm's models by name, for use as teachers, when timm is installed."""

from __future__ import annotations

from typing import Any

from torch import nn

from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.models.forms import ImageShape

try:
    import timm
except ImportError:
    timm = None  # type: ignore[assignment]


def timm_model(num_classes: int, image_shape: ImageShape, *, architecture: str) -> nn.Module:
    """A classification model of timm, untrained, as timm builds it.

    Raises:
        EnvironmentProblem: timm is not installed.
        RecipeError: timm has no model of that name.
    """
    installed(architecture)
    known = timm.list_models()
    if architecture.partition(".")[0] not in known:  # behind a dot: the tag of published weights
        raise RecipeError(
            f"timm has no model named '{architecture}'",
            remedy=f"{did_you_mean(architecture, known)}All of them: python -c 'import timm; "
            "print(timm.list_models())'.",
        )
    fixed = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    # A transformer is cut to a size when it is built; a convolutional net takes any.
    given: dict[str, Any] = {"num_classes": num_classes}
    if fixed is not None and fixed.fixed_input_size:
        given["img_size"] = image_shape[1:]
    net: nn.Module = timm.create_model(architecture, **given)
    return net


def installed(architecture: str) -> Any:
    """timm itself.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    if timm is None:
        raise EnvironmentProblem(
            f"the model '{architecture}' needs timm, which is not installed",
            remedy="pip install 'calkd-edge[timm]'",
        )
    return timm
