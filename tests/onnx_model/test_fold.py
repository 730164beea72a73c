"""Folding: what the folded file returns is the affine of what the file returned before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from proofs import calibration, predictions

from calkd_edge.errors import StageFailed
from calkd_edge.export.proof import prove
from calkd_edge.onnx_model.fold import fold
from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.source import Images
from calkd_edge.records import Affine, Predictions

TOLERANCE = 4e-6
_DRAW = np.random.default_rng(5)
AFFINES = {
    "temperature": Affine(scale=(1 / 1.7,)),
    "cold temperature": Affine(scale=(1 / 0.13,)),
    "vector": Affine(scale=tuple(np.linspace(0.4, 1.6, 10)), bias=tuple(np.linspace(-1, 1, 10))),
    "scale and one bias": Affine(scale=(0.7,), bias=(0.25,)),
    "bias alone": Affine(scale=(1.0,), bias=tuple(np.linspace(-1, 1, 10))),
    "a negative scale": Affine(scale=(*np.linspace(0.4, 1.6, 9), -0.3), bias=tuple(np.linspace(-1, 1, 10))),
    "matrix": Affine(
        scale=tuple((np.eye(10) + 0.1 * _DRAW.normal(size=(10, 10))).ravel()),
        bias=tuple(np.linspace(-1, 1, 10)),
    ),
    "matrix with one bias": Affine(scale=tuple(np.linspace(-0.5, 0.5, 100)), bias=(0.0,)),
}
INT8_FOLDS = {"temperature", "cold temperature", "vector", "scale and one bias", "bias alone"}
NETS = ["resnet20", pytest.param("mobilenet_v2", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=NETS)
def files(request, exported):
    """The net's file in every precision."""
    net = exported(request.param)
    source = Images(lambda count: net.images[:count])
    return net, {
        "fp32": net.proto,
        "fp16": fp16(net.proto, source),
        "int8": int8(net.proto, source, images=32),
        "int8_fp16": int8_fp16(net.proto, source, images=32),
    }


def stored_int8(model):
    tensors = (tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8)
    return {tensor.name: tensor.raw_data for tensor in tensors}


def check_fold(before, after, affine) -> None:
    """The requirement on every fold."""
    by_hand = affine.apply(before["logits"])
    allowed = TOLERANCE * max(1.0, np.abs(by_hand).max())
    assert np.abs(after["logits"] - by_hand).max() <= allowed
    softmax = np.exp(by_hand - by_hand.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    assert np.abs(after["probabilities"] - softmax).max() <= 1e-5


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8_fp16"])
def test_folded_file_returns_the_affine_of_its_logits(files, execute, precision, name):
    net, models = files
    folded = copy_of(models[precision])
    how = fold(folded, AFFINES[name]).how
    exact = not precision.startswith("int8") or name in INT8_FOLDS
    assert how == ("folded" if exact else "nodes_appended")
    onnx.checker.check_model(folded, full_check=True)
    before = execute(models[precision], net.images, simulate=True)
    check_fold(before, execute(folded, net.images, simulate=True), AFFINES[name])
    assert stored_int8(folded) == stored_int8(models[precision])
    assert [o.name for o in folded.graph.output] == ["logits", "probabilities"]


@pytest.mark.parametrize("name", AFFINES)
def test_file_derived_after_folding_returns_the_affine_of_the_one_derived_before(files, execute, name):
    net, models = files
    folded = copy_of(models["int8"])
    fold(folded, AFFINES[name])
    before = execute(derive_for_cpu(models["int8"]), net.images)
    check_fold(before, execute(derive_for_cpu(folded), net.images), AFFINES[name])


def test_derived_file_can_itself_be_calibrated(files, execute):
    net, models = files
    derived = derive_for_cpu(models["int8"])
    folded = copy_of(derived)
    assert fold(folded, AFFINES["vector"]).how == "folded"
    check_fold(execute(derived, net.images), execute(folded, net.images), AFFINES["vector"])
    # ONNX Runtime runs an int8 Gemm with a float bias in float.
    gemms = [node for node in folded.graph.node if node.op_type == "Gemm"]
    assert [len(node.input) for node in gemms] == [2]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_folding_adds_no_node_where_it_is_exact(files, precision):
    _, models = files
    folded = copy_of(models[precision])
    fold(folded, AFFINES["vector"])
    assert len(folded.graph.node) == len(models[precision].graph.node)
    assert len(folded.graph.initializer) <= len(models[precision].graph.initializer) + 1


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_identity_changes_no_byte(files, precision):
    _, models = files
    folded = copy_of(models[precision])
    assert fold(folded, Affine(scale=(1.0,))).how == "none"
    assert folded.SerializeToString() == models[precision].SerializeToString()


def test_folding_twice_is_applying_twice(files, execute):
    net, models = files
    folded = copy_of(models["int8"])
    assert fold(folded, AFFINES["vector"]) == fold(folded, AFFINES["temperature"]) == ("folded", None)
    twice = AFFINES["temperature"].apply(
        AFFINES["vector"].apply(execute(models["int8"], net.images)["logits"])
    )
    result = execute(folded, net.images)["logits"]
    assert np.abs(result - twice).max() <= 2 * TOLERANCE * max(1.0, np.abs(twice).max())


# Hand-made classifiers: the shapes of a last layer that other exporters write.

WEIGHT = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
BIAS = np.array([0.5, -1.0, 2.0], np.float32)
INPUT = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
THREE = {
    "temperature": Affine(scale=(0.4,)),
    "vector": Affine(scale=(0.4, 1.1, 2.0), bias=(0.1, 0.0, -0.2)),
    "matrix": Affine(scale=tuple(np.linspace(-1, 1, 9)), bias=(0.1, 0.0, -0.2)),
    "negative": Affine(scale=(0.4, -1.1, 2.0), bias=(0.1, 0.0, -0.2)),
}


def classifier(nodes, initializers, *, classes=3) -> onnx.ModelProto:
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)],
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", classes])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(values, name) for name, values in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def gemm(inputs, **attributes):
    return helper.make_node("Gemm", inputs, ["logits"], **attributes)


def check(model, execute, affine, expected):
    folded = copy_of(model)
    result = fold(folded, affine)
    assert result.how == expected
    assert (result.reason is None) == (expected == "folded")
    onnx.checker.check_model(folded, full_check=True)
    before, after = execute(model, INPUT, simulate=True), execute(folded, INPUT, simulate=True)
    check_fold(before, after, affine)
    return folded


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["none", "[C]", "[1, C]", "[1]"])
def test_float_layer_of_any_layout_folds(execute, name, transposed, bias):
    values = {"none": None, "[C]": BIAS, "[1, C]": BIAS[None], "[1]": BIAS[:1]}[bias]
    stored = {"w": WEIGHT if transposed else np.ascontiguousarray(WEIGHT.T)}
    if values is not None:
        stored["b"] = values
    model = classifier([gemm(["x", *stored], transB=transposed)], stored)
    check(model, execute, THREE[name], "folded")


@pytest.mark.parametrize("name", ["temperature", "vector", "matrix"])
def test_weight_shared_with_another_layer_stays_there(execute, name):
    square = np.random.default_rng(4).normal(size=(4, 4)).astype(np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), gemm(["h", "w", "b"])]
    stored = {"w": square, "b": np.linspace(-1, 1, 4, dtype=np.float32)}
    affine = {
        "temperature": Affine(scale=(0.4,)),
        "vector": Affine(scale=(0.4, 1.1, 2.0, -1.0), bias=(1.0, 0, 0, 0)),
        "matrix": Affine(scale=tuple(np.linspace(-1, 1, 16)), bias=(1.0, 0, 0, 0)),
    }[name]
    folded = check(classifier(nodes, stored, classes=4), execute, affine, "folded")
    np.testing.assert_array_equal(GraphView.of(folded).array("w"), square)


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}, {"alpha": 0.3, "beta": -1.5}])
def test_scaled_gemm_folds_with_its_factors(execute, name, attributes):
    model = classifier([gemm(["x", "w", "b"], transB=1, **attributes)], {"w": WEIGHT, "b": BIAS})
    check(model, execute, THREE[name], "folded")


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("bias", ["none", "[C]", "[1, C]", "[1]"])
def test_product_with_or_without_a_bias_behind_it(execute, name, bias):
    values = {"none": None, "[C]": BIAS, "[1, C]": BIAS[None], "[1]": BIAS[:1]}[bias]
    stored = {"w": np.ascontiguousarray(WEIGHT.T)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["logits" if values is None else "h"])]
    if values is not None:
        stored["b"] = values
        nodes.append(helper.make_node("Add", ["b", "h"], ["logits"]))
    biasless = values is None and name != "temperature"
    check(classifier(nodes, stored), execute, THREE[name], "nodes_appended" if biasless else "folded")


def convolution(after, *, classes=3, group=1, bias=True, added=False) -> onnx.ModelProto:
    """x [N, 4] as an image of one pixel and four channels, a convolution, and what follows it."""
    generator = np.random.default_rng(3)
    stored = {
        "shape": np.array([-1, 4, 1, 1], np.int64),
        "w": generator.normal(size=(classes, 4 // group, 1, 1)).astype(np.float32),
        "flat": np.array([-1, classes], np.int64),
    }
    inputs = ["image", "w"]
    if bias:
        stored["b"] = np.linspace(-1, 1, classes, dtype=np.float32)
        inputs.append("b")
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", inputs, ["h0"], group=group),
    ]
    if added:
        stored["a"] = generator.normal(size=(classes, 1, 1)).astype(np.float32)
        nodes.append(helper.make_node("Add", ["h0", "a"], ["h1"]))
    for op in after:
        source = nodes[-1].output[0]
        nodes.append(helper.make_node(op, [source], [f"{source}_{op}"]))
    nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], "flat"], ["logits"]))
    return classifier(nodes, stored, classes=classes)


@pytest.mark.parametrize("name", ["temperature", "vector", "matrix"])
@pytest.mark.parametrize("extra", [{}, {"bias": False}, {"added": True}, {"added": True, "bias": False}])
def test_convolution_with_a_mean_over_pixels_takes_any_map(execute, name, extra):
    check(convolution(["GlobalAveragePool"], **extra), execute, THREE[name], "folded")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("temperature", "folded"), ("vector", "nodes_appended"), ("matrix", "nodes_appended")],
)
def test_relu_behind_the_last_convolution_passes_a_temperature_only(execute, name, expected):
    """SqueezeNet's end."""
    folded = check(convolution(["Relu", "GlobalAveragePool"]), execute, THREE[name], expected)
    assert any(node.op_type == "Relu" for node in folded.graph.node)


def test_positive_scales_without_a_bias_pass_a_relu(execute):
    check(convolution(["Relu"]), execute, Affine(scale=(0.4, 1.1, 2.0)), "folded")


def test_matrix_does_not_fold_into_a_grouped_convolution(execute):
    square = Affine(scale=tuple(np.linspace(-1, 1, 16)), bias=(0.0,) * 4)
    model = convolution(["GlobalAveragePool"], classes=4, group=4)
    check(model, execute, square, "nodes_appended")
    check(model, execute, Affine(scale=(0.5, 1.0, 2.0, 3.0), bias=(1.0, 0, 0, 0)), "folded")


REASONS = {
    "Mul": "a Mul makes the logits",
    "Sigmoid": "a Sigmoid makes the logits",
}


@pytest.mark.parametrize("op", REASONS)
def test_what_is_no_linear_layer_is_named(execute, op):
    inputs = ["h", "f"] if op == "Mul" else ["h"]
    nodes = [gemm(["x", "w"], transB=1), helper.make_node(op, inputs, ["logits"])]
    nodes[0].output[0] = "h"
    stored = {"w": WEIGHT} | ({"f": np.full(3, 2.0, np.float32)} if op == "Mul" else {})
    folded = copy_of(classifier(nodes, stored))
    assert fold(folded, THREE["temperature"]).reason == REASONS[op]


def test_layer_that_something_else_reads_too_is_left_alone():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Identity", ["h"], ["logits"]),
        helper.make_node("Relu", ["h"], ["other"]),
    ]
    model = classifier(nodes, {"w": WEIGHT})
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", 3]))
    assert fold(model, THREE["temperature"]).reason == "'h', before the logits, has another reader"


def test_half_precision_weights_are_not_rounded_a_second_time(execute):
    stored = {"w": WEIGHT.astype(np.float16), "b": BIAS.astype(np.float16)}
    half = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        gemm(["half", "w", "b"], transB=1),
    ]
    model = classifier(half, stored)
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    folded = copy_of(model)
    result = fold(folded, THREE["vector"])
    assert result.how == "nodes_appended"
    assert "float16" in result.reason
    onnx.checker.check_model(folded, full_check=True)
    before, after = execute(model, INPUT), execute(folded, INPUT)
    assert after["logits"].dtype == after["probabilities"].dtype == np.float16  # as they were
    by_hand = THREE["vector"].apply(before["logits"])
    np.testing.assert_allclose(after["logits"], by_hand, atol=2**-10 * np.abs(by_hand).max())


def integer_logits() -> onnx.ModelProto:
    """The end that other quantizers write: logits are quantized, and dequantized to be returned."""
    stored = {"w": WEIGHT, "b": BIAS, "s": np.float32(0.04), "z": np.int8(3)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["logits"]),
    ]
    return classifier(nodes, stored)


@pytest.mark.parametrize(("name", "expected"), [("temperature", "folded"), ("vector", "nodes_appended")])
def test_integer_logits_take_a_temperature_in_the_scale_that_returns_them(execute, name, expected):
    model = integer_logits()
    folded = check(model, execute, THREE[name], expected)
    quantize = next(node for node in folded.graph.node if node.op_type == "QuantizeLinear")
    assert GraphView.of(folded).array(quantize.input[1]) == np.float32(0.04)


def quantized_classifier(scale, *, axis=None, bias=True) -> onnx.ModelProto:
    integers = np.rint(WEIGHT / 0.05).clip(-127, 127).astype(np.int8)
    scale = np.asarray(scale, np.float32)
    stored = {"q": integers, "s": scale, "z": np.zeros(scale.shape, np.int8)}
    extra = {} if axis is None else {"axis": axis}
    nodes = [helper.make_node("DequantizeLinear", list(stored), ["w"], **extra)]
    if bias:
        stored["b"] = BIAS
    return classifier([*nodes, gemm(["x", "w", *(["b"] if bias else [])], transB=1)], stored)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("temperature", "folded"),
        ("vector", "folded"),
        ("matrix", "nodes_appended"),
        ("negative", "nodes_appended"),
    ],
)
def test_int8_layer_with_a_scale_for_each_class(execute, name, expected, bias):
    model = quantized_classifier([0.05, 0.04, 0.06], axis=0, bias=bias)
    folded = check(model, execute, THREE[name], expected)
    assert stored_int8(folded) == stored_int8(model)


def test_int8_layer_with_one_scale_for_all_takes_a_temperature_only(execute):
    check(quantized_classifier(0.05), execute, THREE["vector"], "nodes_appended")
    check(quantized_classifier(0.05), execute, THREE["temperature"], "folded")


def test_model_without_logits_is_refused(exported):
    model = copy_of(exported("resnet20").proto)
    with pytest.raises(StageFailed, match="no output 'scores'"):
        fold(model, Affine(scale=(0.5,)), logits="scores")


# The proof on what was executed.


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_proof_passes_on_a_right_fold_and_states_its_numbers(files, execute, precision):
    net, models = files
    folded = copy_of(models[precision])
    fold(folded, AFFINES["vector"])
    raw, after = (execute(model, net.images)["logits"] for model in (models[precision], folded))
    # Other order and a smaller share of the images: the proof pairs them by index.
    order = np.random.default_rng(0).permutation(64)[:50]
    shuffled = Predictions(after[order], np.zeros(50, np.int64), order)
    proof = prove(predictions(raw), shuffled, calibration(AFFINES["vector"]))
    assert proof.images == 50
    assert proof.argmax_changes == 0
    assert 0 <= proof.max_logit_difference <= proof.tolerance
    assert proof.max_probability_difference <= 1e-5


def test_proof_refuses_scaling_the_weight_alone(files, execute):
    net, models = files
    wrong = copy_of(models["int8"])
    view = GraphView.of(wrong)
    weight = view.producer[view.producer["logits"].input[1]]
    weight.input[1] = view.store("wrong", view.array(weight.input[1]) * np.float32(0.5))
    raw, after = (execute(model, net.images)["logits"] for model in (models["int8"], wrong))
    with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
        prove(predictions(raw), predictions(after), calibration(Affine(scale=(0.5,))))
