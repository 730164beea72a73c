"""Where a quantizer gets images from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ImageSource = Callable[[int], np.ndarray]
"""Asked for n, gives up to n training images, uint8 [n, 3, H, W], always the same ones."""
