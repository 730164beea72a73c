"""Equalisation: float32 computes the same, its channels are more even, and what cannot be is left."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.quantization.equalisation import HEADROOM, equalise_channels, pairs_of
from calkd_edge.quantization.ranges import channel_maxima


def chain(between, weights, ends=None, extra=()):
    """images -> Conv -> `between` -> Conv of weights[1] -> logits; all with biases."""
    stored = {}
    for number, weight in enumerate(weights):
        stored[f"w{number}"] = weight
        stored[f"b{number}"] = np.linspace(-0.5, 0.5, len(weight)).astype(np.float32)
    for name, end in zip(("low", "high"), ends or (), strict=False):
        stored[name] = np.array(end, np.float32)
    middle = [helper.make_node(between, ["a", *(["low", "high"] if ends else [])], ["h"])] if between else []
    groups = weights[0].shape[0] // weights[1].shape[1]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"]),
        *middle,
        helper.make_node("Conv", ["h" if between else "a", "w1", "b1"], ["logits"], group=groups),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 5, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def weights_of(channels, outputs, groups, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 1, (channels, 3, 1, 1)) * np.geomspace(0.5, 4.0, channels).reshape(-1, 1, 1, 1)
    second = rng.normal(0, 1, (outputs, channels // groups, 3, 3))
    return first.astype(np.float32), second.astype(np.float32)


def images(count=64, seed=3):
    return np.random.default_rng(seed).normal(0, 1, (count, 3, 5, 5)).astype(np.float32)


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("between", ["Relu", None])
@pytest.mark.parametrize(("outputs", "groups"), [(6, 12), (12, 12), (9, 1), (6, 3)])
def test_the_file_computes_the_same(between, outputs, groups):
    outputs = 12 if groups == 12 else outputs
    model = chain(between, weights_of(12, outputs, groups))
    changed = equalise_channels(model, images())
    assert changed.SerializeToString() != model.SerializeToString()
    fresh = images(seed=4)
    np.testing.assert_allclose(run(changed, fresh), run(model, fresh), atol=2e-5)


@pytest.mark.parametrize("between", ["Relu", None])
def test_a_depthwise_reader_leaves_all_channels_alike(between):
    model = chain(between, weights_of(12, 12, 12))
    value = "h" if between else "a"
    before = channel_maxima(model, [value], images())[value]
    after = channel_maxima(equalise_channels(model, images()), [value], images())[value]
    assert before.max() > 5 * before.min() > 0
    np.testing.assert_allclose(after, before.max(), rtol=1e-5)


def test_a_dense_reader_shares_the_need_between_both():
    weights = weights_of(12, 9, 1)
    model = chain("Relu", weights)
    before = channel_maxima(model, ["h"], images())["h"]
    changed = equalise_channels(model, images())
    after = channel_maxima(changed, ["h"], images())["h"]
    rows = np.abs(weights[1]).reshape(9, 12, -1).max(2)
    column = (rows / rows.max(1, keepdims=True)).max(0)
    np.testing.assert_allclose(after, before / np.sqrt(before / before.max() / column), rtol=1e-4)


def test_a_clip_stays_beyond_all_measured_values():
    weights = weights_of(12, 12, 12)
    model = chain("Clip", weights, ends=(0.0, 6.0))
    changed = equalise_channels(model, images())
    np.testing.assert_allclose(run(changed, images()), run(model, images()), atol=2e-5)
    before = channel_maxima(model, ["h"], images())["h"]
    after = channel_maxima(changed, ["h"], images())["h"]
    clipped = before * HEADROOM >= 6.0
    assert clipped.any()
    assert not clipped.all()
    np.testing.assert_allclose(after[clipped], before[clipped], rtol=1e-6)
    assert (after[~clipped] <= 6.0 / HEADROOM + 1e-5).all()
    assert after[~clipped].min() > 2 * before[~clipped].min()


def test_a_dead_channel_stays_as_it_is():
    first, second = weights_of(12, 12, 12)
    first[3] = 0.0
    model = chain("Relu", (first, second))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b0")
    values = numpy_helper.to_array(bias).copy()
    values[3] = -1.0
    bias.CopyFrom(numpy_helper.from_array(values, "b0"))
    view = GraphView.of(equalise_channels(model, images()))
    assert view.array("b0")[3] == -1.0
    np.testing.assert_array_equal(view.array("w1")[3], second[3])


@pytest.mark.parametrize(
    ("between", "ends", "extra"),
    [
        ("HardSwish", None, []),
        ("Sigmoid", None, []),
        ("Clip", (-1.0, 1.0), []),
        ("Relu", None, [helper.make_node("ReduceMean", ["h"], ["seen"])]),
        ("Relu", None, [helper.make_node("ReduceMean", ["a"], ["seen"])]),
        ("Relu", None, [helper.make_node("ReduceMean", ["w0"], ["seen"])]),
    ],
)
def test_what_does_not_scale_along_is_left(between, ends, extra):
    model = chain(between, weights_of(12, 9, 1), ends, extra)
    if extra:
        model.graph.output.append(onnx.ValueInfoProto(name="seen"))
    assert pairs_of(GraphView.of(model)) == []
    assert equalise_channels(model, images()).SerializeToString() == model.SerializeToString()


def test_a_value_that_the_graph_returns_is_left():
    model = chain("Relu", weights_of(12, 9, 1))
    model.graph.output.append(onnx.ValueInfoProto(name="h"))
    assert pairs_of(GraphView.of(model)) == []


@pytest.mark.parametrize(("name", "pairs"), [("mobilenet_v2", 36), ("shufflenet_v2", 35)])
def test_students_compute_the_same_on_the_measured_images(exported, name, pairs):
    net = exported(name)
    assert len(pairs_of(GraphView.of(net.proto))) == pairs
    equalised_logits, original_logits = (
        run(equalise_channels(net.proto, net.images), net.images),
        run(net.proto, net.images),
    )
    np.testing.assert_allclose(equalised_logits, original_logits, atol=1e-4 * np.abs(original_logits).max())
