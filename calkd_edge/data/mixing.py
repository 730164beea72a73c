"""Mixing two training images into one: mixup and CutMix, on batches of uint8 images.

A mixed image has two labels: the first with weight `share`, the second with the rest. Soft labels cannot be
stored for mixed images, so a student that learns from them needs its teacher in each step.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

Alpha = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(gt=0, le=1)]


class Mixed(NamedTuple):
    """A batch after mixing.

    Attributes:
        images: [B, 3, H, W] uint8.
        partners: [B] int64, index in the batch of each second image.
        share: weight of the first image's label, in 0..1; the same for all images of the batch.
    """

    images: Tensor
    partners: Tensor
    share: float


class Mixing(Protocol):
    """A mixing method, built as `SomeMixing(*, <settings of the recipe>)`."""

    def mix(self, images: Tensor, generator: np.random.Generator) -> Mixed:
        """The batch, mixed with itself in another order; unchanged with probability 1 - `probability`."""


class Mixup:
    """A weighted mean of two images, with a weight from Beta(alpha, alpha) per batch.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018 (arXiv 1710.09412).
    """

    def __init__(self, *, alpha: Alpha = 0.2, probability: Probability = 1.0) -> None:
        self.alpha, self.probability = alpha, probability

    def mix(self, images: Tensor, generator: np.random.Generator) -> Mixed:
        """Means are rounded to the nearest uint8."""
        share, partners = _drawn(len(images), self.alpha, self.probability, generator)
        if share == 1.0:
            return Mixed(images, partners, share)
        mean = torch.lerp(images[partners].float(), images.float(), share)
        return Mixed(mean.round_().to(torch.uint8), partners, share)


class CutMix:
    """The first image with a box from the second, whose area is drawn from Beta(alpha, alpha).

    The first label's share is the area outside of the box.

    Source: Yun et al., "CutMix", ICCV 2019 (arXiv 1905.04899), eq. 2.
    """

    def __init__(self, *, alpha: Alpha = 1.0, probability: Probability = 1.0) -> None:
        self.alpha, self.probability = alpha, probability

    def mix(self, images: Tensor, generator: np.random.Generator) -> Mixed:
        """The box is centred anywhere in the image, at the same position in all images of the batch."""
        share, partners = _drawn(len(images), self.alpha, self.probability, generator)
        if share == 1.0:
            return Mixed(images, partners, share)
        height, width = images.shape[2:]
        side = float(np.sqrt(1 - share))
        top, bottom = _edges(height, round(height * side), generator)
        left, right = _edges(width, round(width * side), generator)
        cut = images.clone()
        cut[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
        return Mixed(cut, partners, 1 - (bottom - top) * (right - left) / (height * width))


def _drawn(
    count: int, alpha: float, probability: float, generator: np.random.Generator
) -> tuple[float, Tensor]:
    """The first image's share and the order of the second images; all numbers are drawn in either case."""
    applied = generator.random() < probability
    share = float(generator.beta(alpha, alpha))
    partners = torch.from_numpy(generator.permutation(count))
    return (share if applied else 1.0), partners


def _edges(side: int, length: int, generator: np.random.Generator) -> tuple[int, int]:
    centre = int(generator.integers(side))
    return max(0, centre - length // 2), min(side, centre - length // 2 + length)
