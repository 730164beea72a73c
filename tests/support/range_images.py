"""Images from which ONNX Runtime's own quantizer collects its ranges."""

from __future__ import annotations

import numpy as np
from onnxruntime.quantization import CalibrationDataReader


class RangeImages(CalibrationDataReader):
    """Images uint8 [N, 3, H, W], eight at a time, for the input named images."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter(np.split(images, range(8, len(images), 8)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}
