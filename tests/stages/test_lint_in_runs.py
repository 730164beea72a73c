"""The linter's findings in runs: TensorRT gets no unfit file, the report says whose rule a file breaks."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.onnx_model.lint import lint_model
from calkd_edge.pipeline.notes import _lint_notes
from calkd_edge.stages import build


@pytest.fixture
def unfit(tmp_path):
    """A file whose activations are uint8 around 0, which TensorRT takes and computes wrongly."""
    stored = [
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.uint8(0), "z"),
        numpy_helper.from_array(np.ones((12, 4), np.float32), "w"),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["flat"], "flatten"),
        helper.make_node("QuantizeLinear", ["flat", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
        helper.make_node("MatMul", ["d", "w"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "unfit",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 3, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    set_metadata(model, {"package_version": "0"})
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path


def test_no_engine_is_built_of_a_file_that_breaks_a_rule(unfit):
    params = {"runtime": "tensorrt", "device": "a board", "runtime_version": "10.3", "options": {}, "on": {}}
    job = Job(params, {"device": {}}, {"model": unfit}, unfit, unfit, lambda done, total: None)
    with pytest.raises(StageFailed, match="is not fit for tensorrt") as refused:
        build.run(job)
    assert refused.value.remedy
    assert not (unfit / "model.engine").exists()


def test_the_report_says_whose_rule_a_file_breaks(unfit):
    path = unfit / "model.onnx"
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(np.nan), "s"))
    found = [lint_model(model, path, target) for target in ("tensorrt", "onnxruntime")]
    (unfit / "lint.json").write_text(json.dumps([one.model_dump() for one in found]))
    notes = _lint_notes(unfit)
    assert any(
        line.startswith("TensorRT and ONNX Runtime would not run it: ") and "nan" in line for line in notes
    )
    assert any(line.startswith("TensorRT would not run it: ") and "uint8" in line.lower() for line in notes)
    messages = [line.partition(": ")[2] for line in notes]
    assert len(set(messages)) == len(messages), "what both refuse is told once"
