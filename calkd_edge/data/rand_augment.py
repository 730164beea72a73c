"""RandAugment with stored random numbers: a few image operations after a padded crop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as image_ops

from calkd_edge.data.augment import Column, CropPad, View
from calkd_edge.data.source import ImageShape

LEVELS = 30
"""The maximum of the paper's scale of magnitudes."""

_MOST_OPERATIONS = 4


class RandAugment:
    """A padded crop, mirrored with probability 1/2, then `operations` of fourteen random image operations.

    Columns: those of `crop_pad`; operation0.., int16, the first, second.. operation; and negative0.., bool,
    whether it has the opposite sign. All operations have the strength `magnitude`, and all, including the
    identity, are equally likely.

    Args:
        image_shape: (3, H, W).
        operations: number of operations per image.
        magnitude: strength of the operations, 0..30.
        padding: width of the border in pixels.
        flip: whether half of the images are mirrored left to right.

    Source: Cubuk et al., "RandAugment", NeurIPS 2020 (arXiv 1909.13719), with the ranges of its table 6.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = (
        *CropPad.columns,
        *(f"{kind}{index}" for index in range(_MOST_OPERATIONS) for kind in ("operation", "negative")),
    )

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        operations: Annotated[int, Field(ge=1, le=_MOST_OPERATIONS)] = 2,
        magnitude: Annotated[int, Field(ge=0, le=LEVELS)] = 10,
        padding: Annotated[int, Field(ge=0, le=128)] = 4,
        flip: bool = True,
    ) -> None:
        self.operations, self.strength = operations, magnitude / LEVELS
        self.crop = CropPad(image_shape, padding=padding, flip=flip)
        self.shift = round(150 / 331 * self.strength * image_shape[2])

    def draw(self, count: int, generator: np.random.Generator) -> dict[str, Column]:
        """The columns of the crop, then those of each operation."""
        view = self.crop.draw(count, generator)
        for index in range(_MOST_OPERATIONS):
            chosen = generator.integers(0, len(_OPERATIONS), count).astype(np.int16)
            view[f"operation{index}"] = chosen if index < self.operations else np.zeros_like(chosen)
            view[f"negative{index}"] = generator.integers(0, 2, count) == 1
        return view

    def replay(self, images: Tensor, view: View) -> Tensor:
        """The crop, then each operation on all images that have it."""
        replayed = self.crop.replay(images, view)
        for index in range(self.operations):
            chosen = torch.as_tensor(np.array(view[f"operation{index}"])).to(images.device)
            negative = torch.as_tensor(np.array(view[f"negative{index}"])).to(images.device)
            for number in torch.unique(chosen).tolist():
                for sign in (1, -1):
                    rows = ((chosen == number) & (negative == (sign < 0))).nonzero().squeeze(1)
                    if number and len(rows):
                        replayed[rows] = _OPERATIONS[number](self, replayed[rows], sign)
        return replayed


def _moved(
    images: Tensor,
    *,
    angle: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    moved: Tensor = image_ops.affine(images, angle=angle, translate=list(shift), scale=1.0, shear=list(shear))
    return moved


def _degrees(tangent: float) -> float:
    return float(np.degrees(np.arctan(tangent)))


Operation = Callable[[RandAugment, Tensor, int], Tensor]

# Strengths at magnitude 30: 0.3 shear, 150 of 331 pixels shift, 30 degrees, 0.9 of colour, contrast and
# brightness, and sharpness, 4 bits of posterize, every value of solarize.
_OPERATIONS: tuple[Operation, ...] = (
    lambda augment, x, sign: x,
    lambda augment, x, sign: _moved(x, shear=(_degrees(0.3 * augment.strength * sign), 0.0)),
    lambda augment, x, sign: _moved(x, shear=(0.0, _degrees(0.3 * augment.strength * sign))),
    lambda augment, x, sign: _moved(x, shift=(augment.shift * sign, 0)),
    lambda augment, x, sign: _moved(x, shift=(0, augment.shift * sign)),
    lambda augment, x, sign: _moved(x, angle=30 * augment.strength * sign),
    lambda augment, x, sign: image_ops.adjust_brightness(x, 1 + 0.9 * augment.strength * sign),
    lambda augment, x, sign: image_ops.adjust_saturation(x, 1 + 0.9 * augment.strength * sign),
    lambda augment, x, sign: image_ops.adjust_contrast(x, 1 + 0.9 * augment.strength * sign),
    lambda augment, x, sign: image_ops.adjust_sharpness(x, 1 + 0.9 * augment.strength * sign),
    lambda augment, x, sign: image_ops.posterize(x, 8 - round(4 * augment.strength)),
    lambda augment, x, sign: image_ops.solarize(x, 255 * (1 - augment.strength)),
    lambda augment, x, sign: image_ops.autocontrast(x),
    lambda augment, x, sign: image_ops.equalize(x),
)
