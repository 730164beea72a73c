"""A calibration applied to tensors; `records.Affine.apply` does the same on arrays."""

from __future__ import annotations

import torch
from torch import Tensor

from calkd_edge.records import Affine


def apply_affine(affine: Affine, logits: Tensor) -> Tensor:
    """Calibrated logits, float32 [B, C] on the same device, for logits [B, C]."""
    scale = torch.tensor(affine.scale, dtype=torch.float32, device=logits.device)
    bias = torch.tensor(affine.bias, dtype=torch.float32, device=logits.device)
    classes = logits.shape[1]
    if affine.kind(classes) == "matrix":
        return logits @ scale.view(classes, classes).T + bias
    return logits * scale + bias
