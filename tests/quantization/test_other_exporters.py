"""int8 and float16 of graphs as other exporters write them: the same numbers, or a refusal with a remedy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from branches import negating
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.int8_mixed import int8_mixed
from calkd_edge.quantization.source import Images

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (64, 3, 4, 4), dtype=np.uint8)
SOURCE = Images(lambda count: IMAGES[:count], lambda: (IMAGES, np.arange(64) % 3))
WEIGHTS = {
    name: RANDOM.normal(0, 0.5, shape).astype(np.float32)
    for name, shape in {"w1": (4, 3, 1, 1), "w2": (4, 4, 3, 3), "w3": (3, 4, 1, 1), "b": (4,)}.items()
}


def constant(name, **value):
    return helper.make_node("Constant", [], [name], **value)


def classifier(between=(), *, made=(), stored=None, opset=17, batch="batch", value="x"):
    """Images -> Cast -> Conv -> Relu, "x" -> `between` -> Conv of `value` -> Relu -> Conv -> mean -> logits.

    `made` are nodes that make weights that are not in `stored`.
    """
    stored = WEIGHTS if stored is None else stored
    nodes = [
        *made,
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "w1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["x"]),
        *between,
        helper.make_node("Conv", [value, "w2", "b"], ["y"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Conv", ["z", "w3"], ["s"], "third"),
        helper.make_node("GlobalAveragePool", ["s"], ["m"]),
        helper.make_node("Flatten", ["m"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def with_other_weights():
    """Weights from a Constant, an Identity and a Cast, a bias from a Constant."""
    stored = {"as_it_is": WEIGHTS["w2"], "half": WEIGHTS["w3"].astype(np.float16)}
    made = [
        constant("w1", value=numpy_helper.from_array(WEIGHTS["w1"])),
        helper.make_node("Identity", ["as_it_is"], ["w2"]),
        helper.make_node("Cast", ["half"], ["w3"], to=TensorProto.FLOAT),
        constant("b", value_floats=WEIGHTS["b"].tolist()),
    ]
    return classifier(made=made, stored=stored)


def assert_close(model, changed, execute, share):
    onnx.checker.check_model(changed, full_check=True)
    before, after = (execute(file, IMAGES, simulate=True)["logits"] for file in (model, changed))
    assert np.abs(after - before).max() <= share * np.ptp(before)


def integer_layers(model):
    view = GraphView.of(model)
    makers = [view.producer.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    return sum(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


@pytest.mark.parametrize("quantizer", [int8, int8_mixed, int8_fp16])
def test_weights_that_nodes_only_copy_become_integers(quantizer, execute):
    quantized = quantizer(with_other_weights(), SOURCE)
    assert integer_layers(quantized) == 3
    assert_close(with_other_weights(), quantized, execute, 0.05)


@pytest.mark.parametrize("opset", [9, 10, 12, 18])
@pytest.mark.parametrize("quantizer", [int8, int8_fp16])
def test_an_older_opset_is_converted(quantizer, opset, execute):
    model = classifier(opset=opset)
    quantized = quantizer(model, SOURCE)
    assert integer_layers(quantized) == 3
    assert_close(model, quantized, execute, 0.05)


def test_an_opset_that_onnx_cannot_convert_is_refused():
    model = classifier(opset=12)
    model.graph.node.insert(3, helper.make_node("Strange", ["x"], ["unread"]))
    with pytest.raises(StageFailed, match="int8 needs opset 13, the file is of opset 12") as refused:
        int8(model, SOURCE)
    assert refused.value.remedy == "Export the model for opset 13 or newer."


def test_names_that_the_graph_has_already_are_left_to_it(execute):
    between = [
        helper.make_node("Relu", ["x"], ["x_quantized"]),
        helper.make_node("Relu", ["x_quantized"], ["x_fp16"]),
        helper.make_node("Conv", ["x_fp16", "w2"], ["y_dequantized"], "another", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "w2"], ["same"], "other", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["y_dequantized", "same"], ["z_dequantized"]),
    ]
    model = classifier(between, value="z_dequantized")
    assert integer_layers(int8(model, SOURCE)) == 5
    for quantizer in (int8, int8_fp16, fp16):
        assert_close(model, quantizer(model, SOURCE), execute, 0.05)


def test_convolutions_of_one_axis_are_equalised(execute):
    flat = {"to_rows": np.array([0, 4, 16]), "back": np.array([0, 4, 4, 4])}
    kernels = {f"v{number}": RANDOM.normal(0, 0.5, (4, 4, 3)).astype(np.float32) for number in (1, 2)}
    between = [
        helper.make_node("Reshape", ["x", "to_rows"], ["row"]),
        helper.make_node("Conv", ["row", "v1"], ["c1"], pads=[1, 1]),
        helper.make_node("Conv", ["c1", "v2"], ["c2"], pads=[1, 1]),
        helper.make_node("Reshape", ["c2", "back"], ["again"]),
    ]
    model = classifier(between, stored={**WEIGHTS, **flat, **kernels}, value="again")
    quantized = int8(model, SOURCE)
    assert integer_layers(quantized) == 5
    assert_close(model, quantized, execute, 0.05)


def test_a_fixed_number_of_images_is_refused():
    with pytest.raises(StageFailed, match="64 images at once, and the input 'images' takes exactly 1"):
        int8(classifier(batch=1), SOURCE)


def test_a_file_without_a_layer_for_int8_is_refused():
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("GlobalAveragePool", ["pixels"], ["m"]),
            helper.make_node("Flatten", ["m"], ["logits"]),
        ],
        "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(StageFailed, match="weights of Conv and Gemm nodes, and the file has neither"):
        int8(model, SOURCE)


def computed_shape():
    """0.5 in the shape of x, computed."""
    half = numpy_helper.from_array(np.array([0.5], np.float32))
    return [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["addend"], value=half),
    ]


@pytest.mark.parametrize(
    "made",
    [
        [constant("addend", value=numpy_helper.from_array(np.full((1, 4, 1, 1), 0.5, np.float32)))],
        [constant("addend", value_float=0.5)],
        computed_shape(),
    ],
)
def test_floats_that_no_float_makes_enter_float16(made, execute):
    between = [*made, helper.make_node("Add", ["x", "addend"], ["sum"])]
    model = classifier(between, value="sum")
    half = fp16(model, SOURCE)
    assert_close(model, half, execute, 5e-3)
    view = GraphView.of(half)
    assert view.initializers[view.producer["y_fp16"].input[1]].data_type == TensorProto.FLOAT16


def test_weights_that_nodes_only_copy_become_float16(execute):
    half = fp16(with_other_weights(), SOURCE)
    assert_close(with_other_weights(), half, execute, 5e-3)


def test_branches_in_float16_are_refused():
    between = [
        constant("condition", value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["condition"], ["either"], "decides", **negating("x")),
    ]
    with pytest.raises(StageFailed, match="If 'decides' computes in a branch or body") as refused:
        fp16(classifier(between, value="either"), SOURCE)
    assert "export the model without this operator" in refused.value.remedy
