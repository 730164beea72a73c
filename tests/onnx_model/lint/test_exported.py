"""Exported files as NVIDIA's compiler reads them: every layer has the type that the file declares."""

from __future__ import annotations

import onnx
import pytest

from calkd_edge.onnx_model.lint.compilation import compile_file
from calkd_edge.onnx_model.lint.linter import findings
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.source import Images

pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")
NETS = [
    "mobilenet_v2",
    "shufflenet_v2",
    pytest.param("resnet20", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]
QUANTIZERS = {
    "fp32": lambda model, source: model,
    "fp16": fp16,
    "int8": lambda model, source: int8(model, source, images=16),
    "int8_fp16": lambda model, source: int8_fp16(model, source, images=16),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", QUANTIZERS)
def test_every_layer_runs_in_its_declared_type(name, precision, exported, tmp_path):
    net = exported(name)
    model = QUANTIZERS[precision](net.proto, Images(lambda count: net.images[:count]))
    onnx.save(model, tmp_path / "model.onnx")
    assert [finding for finding in findings(model) if finding.severity == "error"] == []
    plan = compile_file(tmp_path / "model.onnx", "SM86")
    assert not plan.errors
    layers = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    # Float layers side by side on one input may be compiled as one.
    fewest = layers if precision.startswith("int8") else layers - 2
    assert fewest <= sum(plan.weighted.values()) <= layers
    types = {"fp32": {"Float"}, "fp16": {"Half", "Float"}, "int8": {"Int8"}, "int8_fp16": {"Int8"}}
    assert set(plan.weighted) == types[precision]
    assert precision != "fp16" or plan.weighted["Float"] == 1, "the last layer alone"
