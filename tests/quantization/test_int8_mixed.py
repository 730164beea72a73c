"""Layers left in float32: as few as keep the accuracy, chosen by labelled images, named in the file."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calkd_edge.onnx_model.graph import copy_of, metadata
from calkd_edge.quantization.accuracy import Accuracy, Evaluator
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.int8_mixed import CHOICE, _fewest, int8_mixed
from calkd_edge.quantization.source import Images


@dataclass(frozen=True)
class Net:
    """A graph, images, and what it says of them."""

    proto: onnx.ModelProto
    images: np.ndarray
    reference: np.ndarray


@pytest.fixture(scope="module")
def net(exported, execute):
    """resnet8 with its last biases moved, so that it does not call every image the same."""
    exported_net = exported("resnet8")
    model = copy_of(exported_net.proto)
    name = next(node for node in model.graph.node if node.op_type == "Gemm").input[2]
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    moved = numpy_helper.to_array(bias) - exported_net.reference.mean(0)
    bias.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), name))
    logits = execute(model, exported_net.images)["logits"]
    assert len(set(np.argmax(logits, axis=1).tolist())) >= 5
    return Net(model, exported_net.images, logits)


@pytest.fixture(scope="module")
def labels(net):
    """What the float32 net itself says: it is always right."""
    return np.argmax(net.reference, axis=1)


@pytest.fixture(scope="module")
def fragile(net):
    """The same function, one channel between two convolutions a thousandth and its weights a thousandfold.

    Beside those weights, the other weights of the second convolution vanish in int8.
    """
    model = copy_of(net.proto)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    heavy = [node for node in model.graph.node if node.op_type == "Conv"]
    first = next(node for node in heavy if node.input[1].endswith("layer2.0.conv1.weight"))
    second = next(node for node in heavy if node.input[1].endswith("layer2.0.conv2.weight"))

    def change(name, by):
        values = numpy_helper.to_array(stored[name]).copy()
        by(values)
        stored[name].CopyFrom(numpy_helper.from_array(values, name))

    def shrink(values):
        values[0] /= 1000

    def grow(values):
        values[:, 0] *= 1000

    change(first.input[1], shrink)
    change(first.input[2], shrink)
    change(second.input[1], grow)
    return model, second.input[1]


def source(net, labels):
    return Images(lambda count: net.images[:count], lambda: (net.images, labels))


@pytest.mark.parametrize("correct_bias", [True, False])
def test_nothing_stays_in_float_where_int8_is_good_enough(net, labels, correct_bias):
    settings = {"ranges": "min_max", "images": 32, "correct_bias": correct_bias}
    mixed = int8_mixed(net.proto, source(net, labels), max_drop=0.9, **settings)
    choice = json.loads(metadata(mixed)[CHOICE])
    assert choice["in_float"] == []
    assert choice["drop"] == choice["drop_all_int8"] <= 0.9
    plain = int8(net.proto, source(net, labels), **settings)
    del mixed.metadata_props[:]
    del plain.metadata_props[:]
    assert mixed == plain


def test_the_layer_that_int8_breaks_stays_in_float(fragile, net, execute):
    model, name = fragile
    right = np.argmax(execute(model, net.images)["logits"], axis=1)
    calls = []
    settings = {"ranges": "min_max", "images": 32, "equalise": False}  # which would repair it
    mixed = int8_mixed(model, source(net, right), lambda *done: calls.append(done), max_drop=0.1, **settings)
    choice = json.loads(metadata(mixed)[CHOICE])
    assert choice["in_float"][0]["layer"] == name
    assert choice["drop_all_int8"] > 0.1 >= choice["drop"]
    assert choice["images"] == len(net.images)
    assert calls[-1] == (choice["layers"], choice["layers"])
    kept = {entry["layer"] for entry in choice["in_float"]}
    floats = {node.input[1] for node in mixed.graph.node if node.op_type in ("Conv", "Gemm")} & kept
    assert floats == kept
    logits = execute(mixed, net.images, simulate=True)["logits"]
    assert (np.argmax(logits, axis=1) == right).mean() == pytest.approx(1 - choice["drop"])


def test_equalising_saves_the_layer_that_int8_breaks(fragile, net, execute):
    model, _ = fragile
    right = np.argmax(execute(model, net.images)["logits"], axis=1)
    settings = {"max_drop": 0.1, "ranges": "min_max", "images": 32}
    choice = json.loads(metadata(int8_mixed(model, source(net, right), equalise=True, **settings))[CHOICE])
    assert choice["in_float"] == []
    assert choice["drop"] <= 0.1


def test_no_drop_at_all_can_always_be_kept(net, labels):
    mixed = int8_mixed(net.proto, source(net, labels), max_drop=0.0, ranges="min_max", images=2)
    choice = json.loads(metadata(mixed)[CHOICE])
    assert choice["drop"] <= 0.0
    assert len(choice["in_float"]) <= choice["layers"]


@pytest.mark.parametrize("needed", [{"c"}, {"a", "d"}, {"b", "c", "d"}, {"a", "b", "c", "d", "e"}])
def test_the_search_keeps_only_what_is_needed(needed):
    worth = dict(zip("abcde", (5.0, 4.0, 3.0, 2.0, 1.0), strict=True))
    assert set(_fewest(worth, lambda kept: needed <= set(kept))) == needed


def test_a_judge_says_what_the_graph_says(net, labels, execute):
    accuracy = Evaluator(net.images, (labels + 1) % 10).evaluate(net.proto)
    assert not accuracy.right.any()
    logits = execute(net.proto, net.images)["logits"].astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    assert accuracy.nll == pytest.approx(-log_p[np.arange(len(labels)), (labels + 1) % 10].mean(), abs=1e-5)
    assert Evaluator(net.images, labels).evaluate(net.proto).drop_from(accuracy) == -1.0


@pytest.mark.parametrize("images", [200, 1000, 2000])
def test_a_drop_of_just_what_is_allowed_is_allowed(images):
    for right in range(images // 2, images, 7):
        lost = images // 200
        before, after = (Accuracy(0.0, np.arange(images) < count) for count in (right, right - lost))
        assert after.drop_from(before) <= 0.005
        assert Accuracy(0.0, np.arange(images) < right - lost - 1).drop_from(before) > 0.005
