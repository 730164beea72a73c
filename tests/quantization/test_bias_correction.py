"""Bias correction: means of layers agree with float32's afterwards, and nothing but biases has changed."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from single_layer import single_layer

from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.bias_correction import PiecewiseGraph, with_corrected_biases
from calkd_edge.quantization.placement import insert_qdq, quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges


@pytest.fixture(scope="module", params=["mobilenet_v2", "shufflenet_v2"])
def net(request, exported):
    return exported(request.param)


def placed(net, scales="free"):
    ranges = activation_ranges(net.proto, quantized_inputs(net.proto), net.images, "percentile")
    return insert_qdq(net.proto, ranges, scales=scales)


def layers(model):
    return [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]


def simulated(model, images, names):
    shown = copy_of(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def channel_means(values):
    return values.astype(np.float64).mean((0, *range(2, values.ndim)))


def test_each_layer_returns_float32s_mean_afterwards(net):
    quantized = placed(net)
    names = [node.output[0] for node in layers(net.proto)]
    corrected = with_corrected_biases(quantized, net.proto, net.images, "free")
    expected, before, after = (
        simulated(model, net.images, names) for model in (net.proto, quantized, corrected)
    )
    off = 0.0
    for name in names:
        spread = expected[name].std()
        np.testing.assert_allclose(
            channel_means(after[name]), channel_means(expected[name]), atol=1e-3 * spread
        )
        off = max(off, np.abs(channel_means(before[name]) - channel_means(expected[name])).max() / spread)
    assert off > 1e-2  # rounding alone had moved them


def test_only_biases_change(net):
    quantized = placed(net)
    corrected = with_corrected_biases(quantized, net.proto, net.images, "free")
    assert [node.op_type for node in corrected.graph.node] == [node.op_type for node in quantized.graph.node]
    biases = {node.input[2] for node in layers(quantized)}
    view, bias_names = GraphView.of(quantized), GraphView.of(corrected)
    for name in view.initializers.keys() - biases:
        np.testing.assert_array_equal(bias_names.array(name), view.array(name))
    assert all((bias_names.array(name) != view.array(name)).any() for name in biases)


def test_dyadic_biases_stay_on_their_grid(net):
    corrected = with_corrected_biases(placed(net, "dyadic"), net.proto, net.images, "dyadic")
    view = GraphView.of(corrected)
    for node in layers(corrected):
        activation, weight = (view.array(view.producer[name].input[1]) for name in node.input[:2])
        steps = view.array(node.input[2]).astype(np.float64) / (float(activation) * weight.astype(np.float64))
        np.testing.assert_array_equal(steps, np.rint(steps))


def test_a_layer_without_bias_gets_one_and_a_layer_in_float_keeps_its_own():
    rng = np.random.default_rng(0)
    model = single_layer(rng.normal(0, 1, (3, 2, 1, 1)).astype(np.float32), np.ones(3, np.float32))
    bare = copy_of(model)
    del bare.graph.node[1].input[2:]
    images = rng.normal(0.3, 1, (64, 2, 4, 4)).astype(np.float32)
    quantized = insert_qdq(bare, {"h": 2.0})
    corrected = with_corrected_biases(quantized, bare, images, "free")
    conv = layers(corrected)[0]
    assert len(conv.input) == 3
    corrected_values, expected = (
        simulated(variant, images, ["logits"])["logits"] for variant in (corrected, bare)
    )
    np.testing.assert_allclose(channel_means(corrected_values), channel_means(expected), atol=1e-6)
    untouched = with_corrected_biases(model, model, images, "free")
    assert untouched.SerializeToString() == model.SerializeToString()


def test_a_bias_that_two_layers_share_is_corrected_for_each():
    rng = np.random.default_rng(1)
    model = single_layer(rng.normal(0, 1, (2, 2, 1, 1)).astype(np.float32), np.ones(2, np.float32))
    graph = model.graph
    second = copy_of(model).graph.node[1]
    second.input[0], second.output[0] = "logits", "twice"
    graph.node.append(second)
    graph.output[0].name = "twice"
    images = rng.normal(0.3, 1, (64, 2, 4, 4)).astype(np.float32)
    corrected = with_corrected_biases(insert_qdq(model, {"h": 2.0, "logits": 3.0}), model, images, "free")
    first, last = layers(corrected)
    assert first.input[2] != last.input[2]
    names = ["logits", "twice"]
    corrected_values, expected = (simulated(variant, images, names) for variant in (corrected, model))
    for name in names:
        np.testing.assert_allclose(
            channel_means(corrected_values[name]), channel_means(expected[name]), atol=1e-6
        )


def test_means_are_over_rows_where_they_are_parts_of_images():
    rng = np.random.default_rng(2)
    model = single_layer(rng.normal(0, 1, (3, 2, 1, 1)).astype(np.float32), np.ones(3, np.float32))
    shape = numpy_helper.from_array(np.array([-1, 2, 4, 2]), "half_an_image")
    model.graph.initializer.append(shape)
    model.graph.node[0].CopyFrom(helper.make_node("Reshape", ["x", shape.name], ["h"]))
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 2
    images = rng.normal(0.3, 1, (64, 2, 4, 4)).astype(np.float32)
    corrected = with_corrected_biases(insert_qdq(model, {"h": 2.0}), model, images, "free")
    after, expected = (simulated(variant, images, ["logits"])["logits"] for variant in (corrected, model))
    np.testing.assert_allclose(channel_means(after), channel_means(expected), atol=1e-6)


def test_a_scaled_bias_moves_by_as_much_as_the_mean():
    rng = np.random.default_rng(3)
    model = single_layer(rng.normal(0, 1, (6, 3)).astype(np.float32), np.ones(3, np.float32))
    model.graph.node[1].attribute.append(helper.make_attribute("beta", 0.25))
    model.graph.node[0].CopyFrom(helper.make_node("Flatten", ["x"], ["h"]))
    shape = ["batch", 6, 1, 1]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape))
    images = rng.normal(0.3, 1, (64, 6, 1, 1)).astype(np.float32)
    corrected = with_corrected_biases(insert_qdq(model, {"h": 2.0}), model, images, "free")
    after, expected = (simulated(variant, images, ["logits"])["logits"] for variant in (corrected, model))
    np.testing.assert_allclose(channel_means(after), channel_means(expected), atol=1e-6)


def test_pieces_compute_what_the_whole_graph_computes(net):
    quantized = placed(net)
    all_at_once = simulated(quantized, net.images, [node.output[0] for node in layers(quantized)])
    pieces = PiecewiseGraph(quantized, net.images)
    for node in layers(quantized):
        np.testing.assert_array_equal(pieces.up_to(node), all_at_once[node.output[0]])
