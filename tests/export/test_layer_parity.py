"""Parity by layer: a sound file agrees everywhere, and a damaged one is traced to the layer that was hurt."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from exported_nets import settled
from onnx import numpy_helper

from calkd_edge.errors import StageFailed
from calkd_edge.export.layer_parity import LayerParity, summary
from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.stages.export import check_layers
from calkd_edge.stages.exported_layers import layer_parity

NETS = ["resnet20", "mobilenet_v2", "shufflenet_v2", "mobilenet_v3_small"]


@pytest.mark.parametrize("name", NETS)
def test_every_layer_of_a_sound_file_agrees(exported, name):
    net = exported(name)
    rows = layer_parity(settled(name), net.proto, net.images)
    heavy = [node for node in net.proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(rows) == len(heavy) + 1
    assert rows[-1].layer == "logits"
    assert not any(row.departs for row in rows)
    assert all(row.largest > 0 for row in rows)
    assert "agree with torch" in summary(rows)


def damaged(file, index, change):
    """A copy whose Conv or Gemm number `place` has another bias; and the path of that layer."""
    copied = copy_of(file)
    heavy = [node for node in copied.graph.node if node.op_type in ("Conv", "Gemm")]
    view = GraphView.of(copied)
    view.overwrite(heavy[index].input[2], change(view.array(heavy[index].input[2])).astype(np.float32))
    return copied, heavy[index].input[1].removesuffix(".weight").partition(".")[2]


@pytest.mark.parametrize("index", [0, 7, -1])
def test_a_damaged_file_is_traced_to_its_layer(exported, index):
    net = exported("resnet20")
    broken, layer = damaged(net.proto, index, lambda bias: bias + 0.01)
    rows = layer_parity(settled("resnet20"), broken, net.images)
    first = next(row for row in rows if row.departs)
    assert first.layer == layer
    assert first.difference == pytest.approx(0.01, rel=0.01)
    assert rows[-1].departs
    assert layer in summary(rows)


def test_numbers_that_are_none_depart(exported):
    net = exported("resnet20")
    broken, layer = damaged(net.proto, 3, lambda bias: bias * np.nan)
    rows = layer_parity(settled("resnet20"), broken, net.images)
    assert next(row for row in rows if row.departs).layer == layer
    assert LayerParity("x", float("nan"), 1.0).departs
    assert not LayerParity("x", 1.0, 1e5).departs


def test_a_node_that_torch_has_not_is_left_out(exported):
    net = exported("resnet20")
    twice = copy_of(net.proto)
    conv = next(node for node in twice.graph.node if node.op_type == "Conv")
    again = copy_of(twice).graph.node[list(twice.graph.node).index(conv)]
    again.name, again.output[0] = "again", "again"
    twice.graph.node.append(again)
    assert len(layer_parity(settled("resnet20"), twice, net.images)) == len(
        layer_parity(settled("resnet20"), net.proto, net.images)
    )


def test_export_refuses_what_departs_and_says_where(exported, tmp_path):
    net = exported("resnet20")
    check_layers(settled("resnet20"), net.path, net.images)
    broken, layer = damaged(net.proto, 5, lambda bias: bias - 0.2)
    onnx.save(broken, tmp_path / "model.onnx")
    with pytest.raises(StageFailed, match=f"differs from torch.*{layer}"):
        check_layers(settled("resnet20"), tmp_path / "model.onnx", net.images)


def test_another_number_of_classes_departs(exported):
    net = exported("resnet20")
    cut = copy_of(net.proto)
    view = GraphView.of(cut)
    last = next(node for node in reversed(cut.graph.node) if node.op_type == "Gemm")
    for name in last.input[1:]:
        view.initializers[name].CopyFrom(numpy_helper.from_array(view.array(name)[:5], name))
    del cut.graph.value_info[:]
    for output in cut.graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = 5
    rows = layer_parity(settled("resnet20"), cut, net.images)
    assert rows[-1].difference == float("inf")
    assert rows[-1].departs
