"""Hard-sigmoids as clips: the file computes the same, and what cannot be changed is left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.quantization.hard_sigmoid import hard_sigmoids_as_clips


def kinds(model):
    return [node.op_type for node in model.graph.node]


def gated(
    *,
    slope=1 / 6,
    offset=0.5,
    bias=True,
    groups=1,
    product="Mul",
    extra=(),
    shared=False,
    opset=20,
    kind=np.float32,
):
    """images -> Conv -> HardSigmoid, times a value of the images -> Conv -> logits."""
    random = np.random.default_rng(3)
    stored = {
        "wx": random.normal(size=(4, 3, 1, 1)),
        "wz": random.normal(size=(4, 3, 3, 3)),
        "wy": random.normal(size=(4, 4 // groups, 1, 1)),
        **({"bz": np.linspace(-1, 1, 4)} if bias else {}),
    }
    nodes = [
        helper.make_node("Conv", ["images", "wx"], ["x"]),
        helper.make_node("Conv", ["images", "wz", *(["bz"] if bias else [])], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("HardSigmoid", ["z"], ["gate"], alpha=slope, beta=offset),
        helper.make_node(product, ["gate", "x"], ["y"]),
        helper.make_node("Conv", ["y", "wy"], ["logits"], group=groups),
        *([helper.make_node("Conv", ["x", "wy"], ["unread"], group=groups)] if shared else []),
        *extra,
    ]
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        nodes,
        "gated",
        [helper.make_tensor_value_info("images", number, ["batch", 3, 5, 5])],
        [helper.make_tensor_value_info("logits", number, ["batch", 4, 5, 5])],
        [numpy_helper.from_array(values.astype(kind), name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("slope", "offset"), [(1 / 6, 0.5), (0.2, 0.5), (0.7, -0.1)])
def test_the_same_is_computed(slope, offset, bias, groups, execute):
    model = gated(slope=slope, offset=offset, bias=bias, groups=groups)
    changed = hard_sigmoids_as_clips(model)
    onnx.checker.check_model(changed, full_check=True)
    assert (kinds(model)[2], kinds(changed)[2]) == ("HardSigmoid", "Clip")
    images = np.random.default_rng(4).normal(size=(50, 3, 5, 5)).astype(np.float32)
    before, after = (execute(file, images)["logits"] for file in (model, changed))
    np.testing.assert_allclose(after, before, atol=2e-6 * np.abs(before).max())


def test_every_one_of_mobilenet_v3_is_a_clip(exported, execute):
    net = exported("mobilenet_v3_small")
    changed = hard_sigmoids_as_clips(net.proto)
    assert "HardSigmoid" in kinds(net.proto)
    assert "HardSigmoid" not in kinds(changed)
    before, after = (execute(file, net.images)["logits"] for file in (net.proto, changed))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize(
    "settings",
    [
        *({"extra": [helper.make_node("Relu", [value], ["other"])]} for value in ("z", "gate", "y")),
        {"shared": True},
        {"slope": -0.2},
        {"product": "Add"},
    ],
)
def test_what_others_read_stays(settings):
    model = gated(**settings)
    assert hard_sigmoids_as_clips(model) == model


@pytest.mark.parametrize("settings", [{"opset": 10}, {"kind": np.float16}, {"slope": 1e-40}])
def test_what_no_float32_clip_can_compute_stays(settings):
    model = gated(**settings)
    assert hard_sigmoids_as_clips(model) == model


def test_a_returned_value_stays():
    model = gated()
    model.graph.output.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["batch", 4, 5, 5]))
    assert hard_sigmoids_as_clips(model) == model
