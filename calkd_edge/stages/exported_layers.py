"""An exported file against torch, layer by layer: for the stage that exports, and for the one that looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from calkd_edge.errors import StageFailed
from calkd_edge.export.layer_parity import LayerParity, by_layer, summary
from calkd_edge.models.image_model import ImageModel
from calkd_edge.training.fake_int8 import layers_of

IMAGES = 64


def check_layers(model: ImageModel, file: Path, images: np.ndarray) -> None:
    """Refuse a file that differs from its model, before anything is measured with it.

    Raises:
        StageFailed: with the first layer that differs.
    """
    rows = layer_parity(model, onnx.load(file), images)
    if rows[-1].departs:
        raise StageFailed(
            f"the exported file differs from torch: {summary(rows)}",
            remedy="Do not ship it. Another version of torch or onnxscript may export that layer correctly.",
        )


def layer_parity(model: ImageModel, file: onnx.ModelProto, images: np.ndarray) -> list[LayerParity]:
    """Each layer of an exported model on the same images, in the file's order, and the logits last."""
    layers = layers_of(model, torch.from_numpy(np.ascontiguousarray(images[:8])))
    return by_layer(model, [(layer.path, layer.norm or layer.module) for layer in layers], file, images)
