"""float16: typed from the first convolution to the last linear layer, which itself stays float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, shape_inference

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.fp32 import fp32
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_fp16 import int8_fp16
from calkd_edge.quantization.source import Images
from calkd_edge.stages.quantize import _weights

NETS = [
    "resnet20",
    "mobilenet_v2",
    pytest.param("shufflenet_v2", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETS)
def net(request, exported):
    return exported(request.param)


@pytest.fixture(scope="module")
def half(net):
    return fp16(net.proto, Images(lambda count: net.images[:count]))


def kinds(model) -> dict[str, int]:
    """Type of every value, stored or inferred."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, check_type=True)
    graph = inferred.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_types_agree_at_every_node(half):
    onnx.checker.check_model(half, full_check=True)
    known = kinds(half)
    for node in half.graph.node:
        floats = {
            known[name] for name in node.input if known[name] in (TensorProto.FLOAT, TensorProto.FLOAT16)
        }
        assert node.op_type == "Cast" or len(floats) <= 1, node.name


def test_inputs_and_outputs_keep_name_and_type(net, half):
    assert half.graph.input == net.proto.graph.input
    assert half.graph.output == net.proto.graph.output


def test_every_convolution_is_half_and_the_last_linear_layer_is_not(half):
    known, view = kinds(half), GraphView.of(half)
    heavy = [node for node in half.graph.node if node.op_type in ("Conv", "Gemm")]
    for node in heavy[:-1]:
        assert {known[name] for name in node.input} == {TensorProto.FLOAT16}
    assert heavy[-1].output[0] == "logits"
    assert {known[name] for name in heavy[-1].input} == {TensorProto.FLOAT}
    assert known[view.producer["probabilities"].input[0]] == TensorProto.FLOAT


def test_no_float32_weight_is_left_but_the_last_layers_and_the_normalisation(half):
    view = GraphView.of(half)
    last = view.producer["logits"]
    normalisation = sum(int(np.prod(view.initializers[name].dims)) for name in last.input[1:])
    assert _weights(half)["stored_float"] <= normalisation + 3 + 3 + 2
    assert _weights(half)["stored_float16"] > 10 * normalisation


def test_few_casts(half):
    # In: pixels to float32, normalised to float16. Out: the last layer's input back.
    assert sum(node.op_type == "Cast" for node in half.graph.node) == 3


def test_gap_to_float32_is_small(net, half, execute):
    outputs = execute(half, net.images)
    scale = max(1.0, np.abs(net.reference).max())
    assert np.abs(outputs["logits"] - net.reference).max() <= 2e-2 * scale
    assert (outputs["logits"].argmax(1) == net.reference.argmax(1)).mean() >= 0.95


def test_fp32_is_the_very_file(net):
    assert fp32(net.proto, Images(lambda count: net.images[:count])) is net.proto


def test_weight_beyond_float16_is_refused(exported):
    net = exported("resnet20")
    broken = copy_of(net.proto)
    view = GraphView.of(broken)
    node = next(node for node in broken.graph.node if node.op_type == "Conv")
    values = view.array(node.input[1])
    values.flat[0] = 70_000
    node.input[1] = view.store("too_large", values)
    view.drop_unused()
    with pytest.raises(StageFailed, match=r"too_large holds 7e\+04, and float16 ends at 65504"):
        fp16(broken, Images(lambda count: net.images[:count]))


def test_the_model_is_not_changed(net):
    before = net.proto.SerializeToString(deterministic=True)
    fp16(net.proto, Images(lambda count: net.images[:count]))
    assert net.proto.SerializeToString(deterministic=True) == before


def test_stored_value_shared_with_the_last_layer_stays_exact_there(execute):
    from onnx import helper, numpy_helper

    square = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["h"]),
            helper.make_node("Gemm", ["h", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "shared",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4])
            for n in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(square, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    half = fp16(model, Images(lambda count: None))
    view = GraphView.of(half)
    np.testing.assert_array_equal(view.array(view.producer["logits"].input[1]), square)


def test_int8_with_float16_between_agrees_with_int8(net, execute):
    source = Images(lambda count: net.images[:count])
    plain = int8(net.proto, source, images=48, scales="dyadic")
    mixed = int8_fp16(net.proto, source, images=48)
    executed = execute(derive_for_cpu(mixed), net.images)["logits"]
    expected = execute(plain, net.images, simulate=True)["logits"]
    assert executed.dtype == np.float32
    assert np.abs(executed - expected).max() <= 0.05 * np.ptp(expected)
    assert (executed.argmax(1) == expected.argmax(1)).mean() >= 0.95
    view = GraphView.of(mixed)
    scales = {}
    for node in mixed.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales[node.input[1]] = view.initializers[node.input[1]]
    halves = [variant for variant in scales.values() if variant.data_type == TensorProto.FLOAT16]
    assert (
        len(halves) == len(scales) - 2
    )  # the last layer's two stay in float32, for a calibration to fold into
    assert all((onnx.numpy_helper.to_array(variant) > 0).all() for variant in scales.values())
