"""How to read a classifier's file, as far as the file does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calkd_edge.errors import RecipeError
from calkd_edge.records.base import SMALLEST_STD

Scores = Literal["logits", "probabilities"]
Triple = Sequence[float]

LARGEST_EDGE = 16_384
LARGEST_STD = 4.0
"""Of pixels in 0..1: a larger one is meant for pixels in 0..255."""


@dataclass(frozen=True)
class Reading:
    """How to read a file, as far as the file does not say.

    Attributes:
        layout: nchw or nhwc.
        mean: of red, green and blue, as fractions of 255, for a float input.
        std: likewise.
        channels: rgb or bgr, the order in which the file takes them.
        image_size: (H, W) for a file that leaves it open.
        output: name of the output of scores.
        scores: what that output is, if no softmax makes it.
    """

    layout: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    channels: str = "rgb"
    image_size: tuple[int, int] | None = None
    output: str | None = None
    scores: Scores | None = None

    def check(self) -> None:
        """Refuse values that no file has.

        Raises:
            RecipeError: naming the option.
        """
        if self.scores not in (None, "logits", "probabilities"):
            raise RecipeError(
                f"--scores {self.scores}: not known",
                remedy="Valid values of --scores: logits, probabilities.",
            )
        if self.channels not in ("rgb", "bgr"):
            raise RecipeError(
                f"--channels {self.channels}: not known", remedy="Valid values of --channels: rgb, bgr."
            )
        if self.image_size is not None and not all(1 <= edge <= LARGEST_EDGE for edge in self.image_size):
            raise RecipeError(
                f"--image-size {self.image_size}: not a size of 1 to {LARGEST_EDGE:,} pixels",
                remedy="Write --image-size 224, or 224x160.",
            )
        for option, triple in (("--mean", self.mean), ("--std", self.std)):
            if triple is not None and (len(triple) != 3 or not all(map(math.isfinite, triple))):
                raise RecipeError(
                    f"{option} {_shown(triple)}: not three numbers",
                    remedy=f"Write {option} 0.485,0.456,0.406 for red, green and blue.",
                )
        if self.std is not None and not all(deviation >= SMALLEST_STD for deviation in self.std):
            raise RecipeError(
                f"--std {_shown(self.std)}: pixels are divided by it",
                remedy=f"Use numbers above 0 for --std: {SMALLEST_STD:g} or more.",
            )
        self._check_units()

    def _check_units(self) -> None:
        mean, std = self.mean, self.std
        large_mean = mean is not None and max(map(abs, mean)) > 1
        large_std = std is not None and max(std) > LARGEST_STD
        if not (large_mean or large_std):
            return
        option, triple = ("--mean", mean) if large_mean else ("--std", std)
        scaled = [
            f"{name} {_shown([number / 255 for number in numbers])}"
            for name, numbers in (("--mean", mean), ("--std", std))
            if numbers is not None
        ]
        raise RecipeError(
            f"{option} {_shown(triple or ())}: for pixels in 0..255, and fractions of 255 are needed",
            remedy=f"Divide them by 255: {' '.join(scaled)}",
        )


def _shown(triple: Triple) -> str:
    return ",".join(f"{number:.6g}" for number in triple)
