"""parity: an exported file against torch, layer by layer; no other stage depends on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import onnx

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.export.artifacts import CANONICAL, LAYER_PARITY
from calkd_edge.export.layer_parity import LayerParity, summary
from calkd_edge.models import image_model
from calkd_edge.stages.exported_layers import IMAGES, layer_parity


def run(job: Job) -> None:
    """Write parity.json: each layer of the model, and by how much the file differs from torch there."""
    model, _ = image_model.load(job.inputs["model"])
    images = Prepared.open(job.inputs["data"]).arrays("calibration", IMAGES)[0]
    rows = layer_parity(model, onnx.load(job.inputs["file"] / CANONICAL), images)
    facts = [{**asdict(row), "departs": row.departs} for row in rows]
    (job.out / LAYER_PARITY).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def sentence(what: str, folder: Path) -> str:
    """The result of a finished stage in one sentence."""
    rows = [
        LayerParity(row["layer"], row["difference"], row["largest"])
        for row in json.loads((folder / LAYER_PARITY).read_text(encoding="utf-8"))
    ]
    return f"{what}: {summary(rows)}; {folder / LAYER_PARITY}"
