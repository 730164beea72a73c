"""Where a quantizer gets images from, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def _nothing_to_judge_by() -> tuple[np.ndarray, np.ndarray]:
    raise ValueError("this source has no labelled images")


@dataclass(frozen=True)
class Images:
    """What a quantizer may look at.

    Attributes:
        training: asked for n, gives up to n training images, uint8 [n, 3, H, W], always the same ones.
        judging: gives images and labels [n] of the calibration split that a choice may be made by; no
            temperature is fitted on them afterwards.
    """

    training: Callable[[int], np.ndarray]
    judging: Callable[[], tuple[np.ndarray, np.ndarray]] = _nothing_to_judge_by


Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""
