"""Where a quantizer gets images from, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ImageSource = Callable[[int], np.ndarray]
"""Asked for n, gives up to n training images, uint8 [n, 3, H, W], always the same ones."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""
