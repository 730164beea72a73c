"""The images that a quantizer may use, and its progress callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def _no_labelled_images() -> tuple[np.ndarray, np.ndarray]:
    raise ValueError("this source has no labelled images")


@dataclass(frozen=True)
class Images:
    """The images that a quantizer may use.

    Attributes:
        training: n -> up to n training images, uint8 [n, 3, H, W], always the same ones.
        judging: () -> images and labels [n] of the calibration split on which choices may be made; no
            temperature is fitted to them afterwards.
    """

    training: Callable[[int], np.ndarray]
    judging: Callable[[], tuple[np.ndarray, np.ndarray]] = _no_labelled_images


Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def no_progress(done: int, total: int) -> None:
    """Ignore progress."""
