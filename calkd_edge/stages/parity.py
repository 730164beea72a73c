"""parity: an exported file against torch, layer by layer; no other stage depends on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CANONICAL, LAYER_PARITY
from calkd_edge.export.layer_parity import LayerParity, by_layer
from calkd_edge.models import image_model
from calkd_edge.models.image_model import ImageModel
from calkd_edge.training.fake_int8 import layers_of

IMAGES = 64


def run(job: Job) -> None:
    """Write parity.json: each layer of the model, and by how much the file differs from torch there."""
    model, _ = image_model.load(job.inputs["model"])
    images = Prepared.open(job.inputs["data"]).arrays("calibration", IMAGES)[0]
    rows = layer_parity(model, onnx.load(job.inputs["file"] / CANONICAL), images)
    facts = [{**asdict(row), "departs": row.departs} for row in rows]
    (job.out / LAYER_PARITY).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def layer_parity(model: ImageModel, file: onnx.ModelProto, images: np.ndarray) -> list[LayerParity]:
    """Each layer of an exported model on the same images, in the file's order, and the logits last."""
    layers = layers_of(model, torch.from_numpy(np.ascontiguousarray(images[:8])))
    return by_layer(model, [(layer.path, layer.norm or layer.module) for layer in layers], file, images)


def sentence(what: str, folder: Path) -> str:
    """The result of a finished stage in one sentence."""
    rows = [
        LayerParity(row["layer"], row["difference"], row["largest"])
        for row in json.loads((folder / LAYER_PARITY).read_text(encoding="utf-8"))
    ]
    return f"{what}: {summary(rows)}; {folder / LAYER_PARITY}"


def summary(rows: Sequence[LayerParity]) -> str:
    """The first layer that differs, or the largest difference of all layers."""
    first = next((row for row in rows if row.departs), None)
    if first is None:
        worst = max(rows, key=lambda row: row.relative)
        return (
            f"all {len(rows) - 1} layers and the logits agree with torch; the largest difference "
            f"is {worst.relative:.1e} of the layer's largest value ({worst.layer})"
        )
    return (
        f"the first layer that differs from torch is {first.layer}: {first.difference:.3g} where its largest "
        f"value is {first.largest:.3g}"
    )
