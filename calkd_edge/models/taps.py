"""Features of any model by module path, through forward hooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.models.forms import ImageShape
from calkd_edge.models.image_model import ImageModel


@contextmanager
def tapped(model: ImageModel, paths: Sequence[str], *, where: str) -> Iterator[dict[str, Tensor]]:
    """Inside the block, each forward pass of `model` fills the yielded dict with the outputs at `paths`.

    Args:
        model: whose backbone is tapped.
        paths: dotted module paths inside the backbone, e.g. "layer3" or "features.13".
        where: whose paths these are, for the message: "student" or "teacher".

    Raises:
        RecipeError: a path names no module; the near ones are listed.
    """
    modules = dict(model.backbone.named_modules())
    for path in paths:
        if path not in modules or not path:
            top = [name for name in modules if name and name.count(".") <= 1]
            raise RecipeError(
                f"the {where} has no module '{path}'",
                remedy=f"{did_you_mean(path, modules)}Among its modules: {', '.join(top[:40])}.",
            )
    features: dict[str, Tensor] = {}
    hooks = [modules[path].register_forward_hook(_keeper(features, path)) for path in paths]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def _keeper(features: dict[str, Tensor], path: str):  # type: ignore[no-untyped-def]  # torch's hook type is a union
    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        # A copy, since an in-place activation behind the module would write into its output.
        features[path] = output.clone()

    return keep


def feature_shape(model: ImageModel, path: str, image_shape: ImageShape, *, where: str) -> tuple[int, ...]:
    """Shape without the batch axis of the feature at `path`, found by a dry pass of two blank images."""
    training = model.training
    model.eval()
    with torch.no_grad(), tapped(model, [path], where=where) as features:
        device = model.mean.device
        model(torch.zeros(2, *image_shape, dtype=torch.uint8, device=device))
        shape = tuple(features[path].shape[1:])
    model.train(training)
    return shape
