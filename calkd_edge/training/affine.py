"""A calibration applied to tensors; `records.Affine.apply` does the same on arrays."""

from __future__ import annotations

import torch
from torch import Tensor

from calkd_edge.records import Affine


class TensorAffine:
    """A calibration as float32 tensors, made once: a matrix of 1,000 classes has a million numbers.

    Args:
        affine: the calibration.
    """

    def __init__(self, affine: Affine) -> None:
        self.affine = affine
        self._tensors: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated logits, float32 [B, C] on the same device, for logits [B, C]."""
        scale, bias = self._on(logits.device)
        classes = logits.shape[1]
        if self.affine.kind(classes) == "matrix":
            return logits @ scale.view(classes, classes).T + bias
        return logits * scale + bias

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tensors:
            scale, bias = (
                torch.tensor(numbers, dtype=torch.float32, device=device)
                for numbers in (self.affine.scale, self.affine.bias)
            )
            self._tensors[device] = scale, bias
        return self._tensors[device]
