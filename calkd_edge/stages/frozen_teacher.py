"""The teacher of a teacher's folder, ready for inference: a network of torch, or an ONNX file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from calkd_edge.export.artifacts import CANONICAL
from calkd_edge.models import image_model
from calkd_edge.models.onnx_net import OnnxNet


def frozen_teacher(folder: Path, device: torch.device) -> nn.Module:
    """uint8 images [B, 3, H, W] -> logits [B, C], frozen, in evaluation mode."""
    if (folder / CANONICAL).is_file():
        return OnnxNet(folder / CANONICAL, device)
    model, _ = image_model.load(folder)
    model.requires_grad_(False)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stub
