"""Small nets with weights and statistics as training leaves them, and images for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from calkd_edge.models.image_model import ImageModel, ModelDescription, build

CLASSES = tuple(f"class {number}" for number in range(10))
SETTINGS = {
    "resnet8": {},
    "resnet20": {},
    "mobilenet_v2": {"width": 0.5},
    "shufflenet_v2": {"width": 0.5},
    "mobilenet_v3_small": {},
    "mobilenet_v1": {"width": 0.5},
    "mobilenet_v3_large": {},
    "resnet50": {},
    "shufflenet_v1": {},
    "vgg8": {},
    "wrn_16_1": {},
}


@dataclass(frozen=True)
class ExportedNet:
    """A net with settled statistics, its file, images, and torch's own logits on them."""

    name: str
    path: Path
    images: np.ndarray
    reference: np.ndarray

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The file; copy it before changing it."""
        return onnx.load(self.path)


def settled(name: str, seed: int = 0) -> ImageModel:
    """A model with weights and statistics as training leaves them: none of them 0 or 1."""
    torch.manual_seed(seed)
    model = build(
        ModelDescription(
            name=name,
            settings=SETTINGS[name],
            classes=CLASSES,
            image_shape=(3, 32, 32),
            mean=(0.50, 0.48, 0.45),
            std=(0.25, 0.24, 0.26),
            trained_on="random",
        )
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.bias, 0, 0.5)
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(torch.from_numpy(blobs(64, seed=seed)))
    return model.eval()


def blobs(count: int, seed: int) -> np.ndarray:
    """uint8 [count, 3, 32, 32] of smooth random colours and some noise: neither constant nor white."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 256, (count, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    return (coarse + generator.normal(0, 20, coarse.shape)).clip(0, 255).astype(np.uint8)
