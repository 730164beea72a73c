"""Features of any model by module path, through forward hooks.

A tap is a dotted module path inside the backbone for the output of that module ("layer3"), or the path and
`:input` for its input ("fc:input", the pooled embedding; "layer3.2.relu:input", a block before its last
activation). Where a module runs several times in a pass, the last time counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_model import ImageModel

BEFORE = ":input"
"""Ends a tap that means the input of a module."""


@contextmanager
def tapped(model: ImageModel, paths: Sequence[str], *, where: str) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that each forward pass of `model` inside the block fills with the features at `paths`.

    Args:
        model: its backbone is tapped.
        paths: taps, e.g. "layer3", "features.13" or "fc:input".
        where: "student" or "teacher", for the message.

    Raises:
        RecipeError: a path names no module; the message lists similar ones.
    """
    features: dict[str, Tensor] = {}
    modules = [(path, module_at(model, path.removesuffix(BEFORE), where=where)) for path in paths]
    hooks = [
        module.register_forward_pre_hook(_input_keeper(features, path))
        if path.endswith(BEFORE)
        else module.register_forward_hook(_output_keeper(features, path))
        for path, module in modules
    ]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def module_at(model: ImageModel, path: str, *, where: str) -> nn.Module:
    """The backbone's module at a dotted path.

    Raises:
        RecipeError: the path names no module; the message lists similar ones.
    """
    modules: dict[str, nn.Module] = dict(model.backbone.named_modules())
    if path not in modules or not path:
        top = [name for name in modules if name and name.count(".") <= 1]
        raise RecipeError(
            f"the {where} has no module '{path}'",
            remedy=f"{did_you_mean(path, modules)}Among its modules: {', '.join(top[:40])}.",
        )
    return modules[path]


# Features are copied because an in-place activation in or after the module would overwrite them.


def _output_keeper(features: dict[str, Tensor], path: str):  # type: ignore[no-untyped-def]  # torch's hook type is a union
    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        features[path] = output.clone()

    return keep


def _input_keeper(features: dict[str, Tensor], path: str):  # type: ignore[no-untyped-def]  # torch's hook type is a union
    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features[path] = inputs[0].clone()

    return keep


def feature_shape(model: ImageModel, path: str, image_shape: ImageShape, *, where: str) -> tuple[int, ...]:
    """Shape of the feature at `path` without the batch axis, from a forward pass of two blank images."""
    training = model.training
    model.eval()
    with torch.no_grad(), tapped(model, [path], where=where) as features:
        device = model.mean.device
        model(torch.zeros(2, *image_shape, dtype=torch.uint8, device=device))
        shape = tuple(features[path].shape[1:])
    model.train(training)
    return shape
