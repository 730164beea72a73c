"""Two training images made one: mixup and CutMix, on whole batches of uint8 images.

A mixed image has two labels, `share` for the first and the rest for the second. No view of one image can be
kept for it, so a student that learns from mixed images has its teacher run live.
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
        partners: [B] int64, place in the batch of the image that was mixed in.
        share: of the first image's label, in 0..1; the same for the whole batch.
    """

    images: Tensor
    partners: Tensor
    share: float


class Mixing(Protocol):
    """A way to mix, built as `SomeMixing(*, <what a recipe may say>)`."""

    def mix(self, images: Tensor, generator: np.random.Generator) -> Mixed:
        """The batch, mixed with itself in another order; left alone with probability 1 - `probability`."""


class Mixup:
    """A weighted mean of two images, the weight drawn from Beta(alpha, alpha) once a batch.

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
    """A box of the second image set into the first, of an area drawn from Beta(alpha, alpha).

    Source: Yun et al., "CutMix", ICCV 2019 (arXiv 1905.04899), eq. 2; the label's share is the area that is
    left.
    """

    def __init__(self, *, alpha: Alpha = 1.0, probability: Probability = 1.0) -> None:
        self.alpha, self.probability = alpha, probability

    def mix(self, images: Tensor, generator: np.random.Generator) -> Mixed:
        """The box is centred anywhere in the image, the same in the whole batch."""
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
    """The first image's share and the order of the second ones; the draws do not depend on the outcome."""
    applied = generator.random() < probability
    share = float(generator.beta(alpha, alpha))
    partners = torch.from_numpy(generator.permutation(count))
    return (share if applied else 1.0), partners


def _edges(side: int, length: int, generator: np.random.Generator) -> tuple[int, int]:
    centre = int(generator.integers(side))
    return max(0, centre - length // 2), min(side, centre - length // 2 + length)
