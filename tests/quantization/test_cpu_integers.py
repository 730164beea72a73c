"""The int8 file for ONNX Runtime's CPU: which values are integers, on which grid, and what that costs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from single_layer import single_layer

from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.cpu import derive_for_cpu, integers, kernels
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.placement import insert_qdq
from calkd_edge.quantization.source import Images

NETS = [
    "resnet20",
    "mobilenet_v2",
    "shufflenet_v2",
    pytest.param("shufflenet_v1", marks=pytest.mark.slow),
    pytest.param("mobilenet_v1", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETS)
def net(request, exported):
    return exported(request.param)


@pytest.fixture(scope="module")
def canonical(net):
    return int8(net.proto, Images(lambda count: net.images[:count]), images=48)


@pytest.fixture(scope="module")
def derived(net, canonical):
    return derive_for_cpu(canonical, net.images[:48])


def test_every_layer_is_executed_in_integers_and_no_activation_function_is_left(derived, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.add_session_config_entry("session.x64quantprecision", "1")
    onnxruntime.InferenceSession(derived.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    layers = [node.op_type for node in derived.graph.node if node.op_type in ("Conv", "Gemm")]
    assert kinds.count("QLinearConv") == layers.count("Conv") > 0
    assert kinds.count("QGemm") == layers.count("Gemm") > 0
    assert not {"Conv", "FusedConv", "Gemm", "Clip", "Relu"} & set(kinds)


def test_execution_agrees_with_the_files_simulation(net, derived, execute):
    executed, simulated = (execute(derived, net.images, simulate=flag)["logits"] for flag in (False, True))
    gap = np.sqrt(((executed - simulated) ** 2).mean()) / simulated.std()
    assert gap <= 0.02


def test_answers_are_no_further_from_float_than_those_of_the_canonical_file(net, canonical, derived, execute):
    first, second = (
        np.sqrt(((execute(model, net.images, simulate=True)["logits"] - net.reference) ** 2).mean())
        for model in (canonical, derived)
    )
    assert second <= max(1.1 * first, 1e-3 * net.reference.std())


def test_moving_and_joining_values_rounds_nothing(derived):
    view = GraphView.of(derived)
    moves = [node for node in derived.graph.node if node.op_type in integers.MOVES]
    joined = 0
    for node in moves:
        makers = [view.producer.get(name) for name in node.input]
        read = [maker for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
        after = [
            reader
            for name in node.output
            for reader in view.consumers[name]
            if reader.op_type == "QuantizeLinear"
        ]
        if read and after:
            assert (
                len(
                    {
                        (view.array(pair.input[1]).item(), view.array(pair.input[2]).item())
                        for pair in read + after
                    }
                )
                == 1
            )
            joined += 1
    assert joined > 0 or not any(node.op_type == "Concat" for node in moves)


def test_biases_give_each_layer_the_canonical_files_mean(net, canonical, execute):
    """The first layer's, whose input is the same in both."""
    sample = net.images[:48]
    layer = next(node for node in canonical.graph.node if node.op_type == "Conv").output[0]
    means = []
    for model in (canonical, derive_for_cpu(canonical, sample)):
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        shown.graph.output.append(onnx.ValueInfoProto(name=layer))
        means.append(execute(shown, sample, simulate=True)[layer].mean((0, 2, 3)))
    np.testing.assert_allclose(means[1], means[0], atol=2e-4 * np.abs(means[0]).max())


def graph(*nodes, stored):
    """A model of nodes from h [N, 2, 4, 4] to y, with the weight w of a 1x1 convolution."""
    kind = onnx.TensorProto.FLOAT
    weights = {"w": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1), **stored}
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("h", kind, ["n", 2, 4, 4])],
        [helper.make_tensor_value_info("y", kind, ["n", 2, None, None])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_what_no_later_layer_reads_is_not_rounded():
    model = graph(
        helper.make_node("Conv", ["h", "w"], ["a"], "first"),
        helper.make_node("Conv", ["a", "w"], ["b"], "last"),
        helper.make_node("GlobalAveragePool", ["b"], ["y"]),
        stored={},
    )
    images = np.random.default_rng(0).normal(size=(8, 2, 4, 4)).astype(np.float32)
    derived = derive_for_cpu(insert_qdq(model, {"h": 3.0, "a": 3.0}), images)
    view = GraphView.of(derived)
    assert [node.op_type for node in view.consumers["a"]] == ["QuantizeLinear"]
    assert [node.op_type for node in view.consumers["b"]] == ["GlobalAveragePool"]


def test_layer_that_the_quantizer_left_in_float_reads_floats():
    model = graph(
        helper.make_node("Conv", ["h", "w"], ["a"], "first"),
        helper.make_node("Conv", ["a", "float_w"], ["b"], "in float"),
        helper.make_node("Conv", ["a", "w"], ["c"], "beside it"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "float_w"], ["d"], "in float too"),
        helper.make_node("Add", ["b", "d"], ["e"]),
        helper.make_node("Conv", ["e", "w"], ["y"], "last"),
        stored={"float_w": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)},
    )
    images = np.random.default_rng(0).normal(size=(8, 2, 4, 4)).astype(np.float32)
    ranges = {"h": 3.0, "a": 3.0, "e": 6.0}
    derived = derive_for_cpu(insert_qdq(model, ranges, in_float=["float_w"]), images)
    view = GraphView.of(derived)
    inputs = {node.name: node.input[0] for node in derived.graph.node if node.op_type == "Conv"}
    assert (inputs["in float"], inputs["in float too"]) == ("a", "r")
    assert [node.op_type for node in view.consumers["r"]] == ["Conv"]  # no pair that nothing reads
    assert {node.op_type for node in view.consumers["a"]} == {"Conv", "QuantizeLinear"}
    assert view.producer[inputs["beside it"]].op_type == "DequantizeLinear"


@pytest.mark.parametrize(
    ("limits", "grid", "left"),
    [
        ((0.0, 6.0), (4.0 / 255, 0), 0),  # the integers end at 4
        ((0.0, 6.0), (8.0 / 255, 0), 1),  # they end at 8, and Clip at 6
        ((-1.0, 1.0), (4.0 / 255, 100), 1),
    ],
)
def test_an_activation_function_on_integers_is_the_one_before_rounding(limits, grid, left, execute):
    ends = dict(zip(("low", "high"), (np.float32(limit) for limit in limits), strict=True))
    pair = ["scale", "zero"]
    model = graph(
        helper.make_node("Conv", ["h", "w"], ["a"]),
        helper.make_node("Clip", ["a", "low", "high"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", *pair], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *pair], ["y"]),
        stored={**ends, "scale": np.float32(grid[0]), "zero": np.uint8(grid[1])},
    )
    images = np.random.default_rng(0).normal(scale=4, size=(8, 2, 4, 4)).astype(np.float32)
    before = execute(model, images, simulate=True)["y"]
    kernels.quantize_before_activations(GraphView.of(model))
    assert sum(node.op_type == "Clip" for node in model.graph.node) == left
    np.testing.assert_array_equal(execute(model, images, simulate=True)["y"], before)


def test_channel_that_consists_of_its_bias_is_executed_as_simulated(exported, execute):
    net = exported("resnet20")
    dead = copy_of(net.proto)
    view = GraphView.of(dead)
    layer = [node for node in dead.graph.node if node.op_type == "Conv"][4]
    weight, bias = (view.array(name) for name in layer.input[1:])
    weight[3], bias[3] = 0, np.abs(bias).max()
    view.overwrite(layer.input[1], weight)
    view.overwrite(layer.input[2], bias)
    derived = derive_for_cpu(int8(dead, Images(lambda count: net.images[:count]), images=48), net.images[:48])
    executed, simulated = (execute(derived, net.images, simulate=flag)["logits"] for flag in (False, True))
    gap = np.sqrt(((executed - simulated) ** 2).mean()) / simulated.std()
    assert gap <= 0.02


def test_bias_that_32_bits_do_not_hold_gets_coarser_weights_of_its_channel_alone():
    weight = np.array([[1e-9, -1e-9], [1.0, 0.5]], np.float32).reshape(2, 2, 1, 1)
    canonical = insert_qdq(single_layer(weight, np.array([3.0, 0.1], np.float32)), {"h": 3.0, "logits": 3.0})
    view = GraphView.of(canonical)
    layer = next(node for node in canonical.graph.node if node.op_type == "Conv")
    step = view.producer[layer.input[0]].input[1]
    view.overwrite(step, view.array(step) / 4)  # a finer grid than the weights were chosen for
    before = view.array(view.producer[layer.input[1]].input[1])
    kernels.fit_biases(view)
    after = view.array(view.producer[layer.input[1]].input[1])
    assert after[0] > before[0]
    assert after[1] == before[1]
    assert 3.0 / (view.array(step) * after[0]) <= kernels.INT32_LIMIT


def test_rest_in_float16_is_executed_as_simulated(exported, execute):
    net = exported("mobilenet_v2")
    canonical = int8_fp16(net.proto, Images(lambda count: net.images[:count]), images=48)
    derived = derive_for_cpu(canonical)
    executed, simulated = (execute(derived, net.images, simulate=flag)["logits"] for flag in (False, True))
    np.testing.assert_allclose(executed, simulated, atol=1e-3 * np.ptp(simulated))
    np.testing.assert_array_equal(simulated, execute(canonical, net.images, simulate=True)["logits"])
