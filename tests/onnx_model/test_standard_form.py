"""Forms of files that ONNX Runtime runs: functions of another opset, undeclared outputs, float64, clips."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.classifier_output import find_output
from calkd_edge.onnx_model.outputs import adopt_outputs
from calkd_edge.onnx_model.standard_form import standard_form

NODE = helper.make_node
WEIGHT = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
INPUTS = np.random.default_rng(3).normal(size=(20, 6)).astype(np.float32)


def model(nodes, *, kind=TensorProto.FLOAT, shape=("n", 3), functions=(), **stored) -> onnx.ModelProto:
    values = {"w": WEIGHT, **stored}
    graph = helper.make_graph(
        [NODE("MatMul", ["x", "w"], ["z"]), *nodes],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("p", kind, shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in values.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def returned(file: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": INPUTS})[-1])


def test_a_softmax_in_a_function_of_another_opset_is_found():
    inside = helper.make_function(
        "own", "Share", ["a"], ["b"], [NODE("Softmax", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    file = model([NODE("Share", ["z"], ["p"], domain="own")], functions=[inside])
    end = find_output(standard_form(file))
    assert (end.kind, end.logits) == ("softmax", "z")
    np.testing.assert_allclose(returned(adopt_outputs(standard_form(file))), returned(file), atol=1e-6)


def test_an_output_without_a_shape_gets_the_shape_that_the_graph_determines():
    end = find_output(standard_form(model([NODE("Softmax", ["z"], ["p"])], shape=None)))
    assert (end.kind, end.classes) == ("softmax", 3)


def test_confidences_returned_as_float64_are_those_of_their_logits():
    nodes = [NODE("Softmax", ["z"], ["q"]), NODE("Cast", ["q"], ["p"], to=TensorProto.DOUBLE)]
    file = model(nodes, kind=TensorProto.DOUBLE)
    np.testing.assert_allclose(returned(adopt_outputs(standard_form(file))), returned(file), atol=1e-6)


def test_logits_of_float64_are_refused():
    file = model([NODE("Cast", ["z"], ["p"], to=TensorProto.DOUBLE)], kind=TensorProto.DOUBLE)
    with pytest.raises(RecipeError, match="float64"):
        find_output(standard_form(file))


@pytest.mark.parametrize("form", ["stored", "constant"])
def test_a_clip_that_cuts_confidences_is_refused_and_one_near_0_and_1_is_not(form):
    def clipped(low, high):
        nodes = [NODE("Softmax", ["z"], ["q"]), NODE("Clip", ["q", "low", "high"], ["p"])]
        bounds = {"low": np.float32(low), "high": np.float32(high)}
        if form == "stored":
            return standard_form(model(nodes, **bounds))
        constants = [
            NODE("Constant", [], [name], value=numpy_helper.from_array(np.asarray(bound)))
            for name, bound in bounds.items()
        ]
        return standard_form(model([*constants, *nodes]))

    with pytest.raises(RecipeError, match="clipped"):
        find_output(clipped(0.05, 0.9))
    assert find_output(clipped(1e-7, 1 - 1e-7)).kind == "softmax"


def test_confidences_that_are_rounded_after_the_softmax_are_marked():
    nodes = [
        NODE("Softmax", ["z"], ["q"]),
        NODE("QuantizeLinear", ["q", "s", "zero"], ["i"]),
        NODE("DequantizeLinear", ["i", "s", "zero"], ["p"]),
    ]
    assert find_output(model(nodes, s=np.float32(1 / 255), zero=np.uint8(0))).rounds
    assert not find_output(model([NODE("Softmax", ["z"], ["p"])])).rounds
