"""quantize: model.onnx in another precision, and the file derived from it for ONNX Runtime's CPU provider."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError
from calkd_edge.export.artifacts import CANONICAL, FOR_CPU
from calkd_edge.onnx_model.graph import metadata, set_metadata
from calkd_edge.quantization import QUANTIZERS, int8_qat
from calkd_edge.quantization.cpu import derive_for_cpu, is_canonical
from calkd_edge.quantization.hard_sigmoid import hard_sigmoids_as_clips
from calkd_edge.quantization.source import Images
from calkd_edge.quantization.traits import traits_of
from calkd_edge.stages.held_out import JUDGING
from calkd_edge.stages.params import QuantizeParams

IMAGES_FOR_CPU = 512
"""Training images by which the values of the derived file are measured."""

FOR_CPU_ALONE = "ONNX Runtime's CPU provider, never TensorRT"
NOT_ON_CPU = (
    "TensorRT, OpenVINO; ONNX Runtime's CPU provider runs most of it in float, several times slower than "
    "float32: give it the file whose name ends in .cpu.onnx"
)
"""Metadata `runs_on` of the derived and of the canonical file."""


def run(job: Job) -> None:
    """Write model.onnx, model.cpu.onnx where ONNX Runtime needs another file, and coverage.json.

    A file that was quantized elsewhere is not changed.
    """
    params = QuantizeParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"])

    def training(count: int) -> np.ndarray:
        return prepared.arrays("train", count, params.seed)[0]

    def judging() -> tuple[np.ndarray, np.ndarray]:
        images, labels, _ = prepared.arrays("calibration")
        return images[JUDGING], labels[JUDGING]

    model = onnx.load(job.inputs["model"] / CANONICAL)
    has_trained_ranges = int8_qat.RANGES in metadata(model)  # of its values as they are
    if params.hard_sigmoids_as_clips and not has_trained_ranges:
        model = hard_sigmoids_as_clips(model)
    quantizer = QUANTIZERS.load(params.precision)
    source = Images(training, judging)
    quantized: onnx.ModelProto = quantizer(model, source, job.progress, **params.settings)
    if _rounds(quantized) and not _rounds(model):  # a teacher's file may do so as it came
        _check_declared(params.precision)
    set_metadata(quantized, {"precision": params.precision})
    if is_canonical(quantized):
        # What was quantized elsewhere keeps its values.
        images = training(IMAGES_FOR_CPU) if params.measures_values and not _rounds(model) else None
        derived = derive_for_cpu(quantized, images)
        set_metadata(derived, {"runs_on": FOR_CPU_ALONE})
        onnx.save(derived, job.out / FOR_CPU)
        set_metadata(quantized, {"runs_on": NOT_ON_CPU})
    onnx.save(quantized, job.out / CANONICAL)
    coverage = {**dict(Counter(node.op_type for node in quantized.graph.node)), **_weights(quantized)}
    (job.out / "coverage.json").write_text(json.dumps(coverage, indent=1, sort_keys=True), encoding="utf-8")


def _rounds(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def _check_declared(precision: str) -> None:
    """Refuse a file that rounds from a precision that does not say so: it would not be simulated."""
    if not traits_of(precision).rounds:
        raise RecipeError(
            f"precision {precision}: its file rounds to integers, which its function does not declare",
            remedy="Write @rounds before the function: from calkd_edge.quantization.traits import rounds",
        )


def _weights(model: onnx.ModelProto) -> dict[str, int]:
    """How many stored values are of each type: what is really int8 or float16."""
    counts: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        counts[f"stored_{kind}"] += int(np.prod(tensor.dims, dtype=np.int64))
    return dict(counts)
