"""The exported file: legal, small, named, without traces, and equal to torch."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exported_nets import blobs, settled
from onnx import TensorProto
from torch import nn

from calkd_edge.errors import StageFailed
from calkd_edge.export.torch_export import export_onnx, reference_logits
from calkd_edge.models.image_model import ImageModel
from calkd_edge.onnx_model.graph import class_names, metadata, set_metadata

NETS = [
    "resnet20",
    "mobilenet_v2",
    pytest.param("shufflenet_v2", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]
JUNK = {"Identity", "Shape", "Gather", "Constant", "Dropout", "BatchNormalization", "If", "Loop"}


@pytest.fixture(params=NETS)
def net(request, exported):
    return exported(request.param)


def test_file_is_valid_and_of_the_requested_opset(net):
    onnx.checker.check_model(net.proto, full_check=True)
    assert {entry.domain: entry.version for entry in net.proto.opset_import} == {"": 20}


def test_images_enter_as_uint8_with_a_free_batch(net):
    (images,) = net.proto.graph.input
    assert images.name == "images"
    assert images.type.tensor_type.elem_type == TensorProto.UINT8
    batch, *rest = images.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [dim.dim_value for dim in rest] == [3, 32, 32]


def test_logits_and_probabilities_leave_as_float32(net):
    assert [output.name for output in net.proto.graph.output] == ["logits", "probabilities"]
    for output in net.proto.graph.output:
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT
        batch, classes = output.type.tensor_type.shape.dim
        assert batch.dim_param == net.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        assert classes.dim_value == 10


def test_graph_holds_no_operation_that_computes_nothing(net):
    assert not JUNK & {node.op_type for node in net.proto.graph.node}
    assert not net.proto.functions


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_runtime_agrees_with_torch_at_any_batch(net, execute, batch):
    result = execute(net.proto, net.images[:batch])
    scale = max(1.0, np.abs(net.reference).max())
    assert np.abs(result["logits"] - net.reference[:batch]).max() <= 1e-4 * scale
    np.testing.assert_allclose(result["probabilities"].sum(1), 1.0, atol=1e-5)


def test_pixels_that_no_image_has_agree_too(net, execute):
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    images[0], images[1] = 0, 255
    expected = reference_logits(settled(net.name), images)
    result = execute(net.proto, images)["logits"]
    assert np.abs(result - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def test_images_of_a_batch_do_not_influence_each_other(net, execute):
    alone = np.concatenate([execute(net.proto, net.images[i : i + 1])["logits"] for i in range(3)])
    together = execute(net.proto, net.images[:3])["logits"]
    np.testing.assert_allclose(alone, together, atol=1e-4 * max(1.0, np.abs(together).max()))


def test_metadata_is_ours_alone(net):
    assert metadata(net.proto) == {"classes": '["a"]', "precision": "fp32"}
    assert len(net.proto.metadata_props) == 2
    assert class_names(net.proto) == ("a",)


def test_file_tells_nothing_of_the_machine_that_wrote_it(net):
    content = net.path.read_bytes()
    home, here = str(Path.home()), str(Path(__file__).parents[2])
    for trace in ("site-packages", ".py", home + "/", here, str(net.path.parent), "stack_trace", "pkg.torch"):
        assert trace.encode() not in content, trace
    if len(getpass.getuser()) > 4:
        assert getpass.getuser().encode() not in content


def test_metadata_is_replaced_not_doubled(exported):
    model = onnx.ModelProto()
    set_metadata(model, {"precision": "fp32", "a": "1"})
    set_metadata(model, {"precision": "int8"})
    assert metadata(model) == {"a": "1", "precision": "int8"}


def test_class_names_survive_any_text():
    model, names = onnx.ModelProto(), ("Ä", "a,b", 'q"', "")
    set_metadata(model, {"classes": json.dumps(names)})
    assert class_names(model) == names
    assert class_names(onnx.ModelProto()) == ()


class _Branching(nn.Module):
    def forward(self, images):
        values = images.float().mean((2, 3))
        return values if values.sum().item() > 0 else -values


class _ReadsWhatChangedInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.activation = nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True)

    def forward(self, images):
        values = self.layer(images)
        return (self.activation(values) + values).mean((2, 3))


def test_activation_in_place_changes_what_others_read(tmp_path, execute):
    model = ImageModel(_ReadsWhatChangedInPlace(), (0.5,) * 3, (0.01,) * 3)
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).to(torch.uint8)
    export_onnx(model, (3, 8, 8), tmp_path / "model.onnx", opset=20, metadata={})
    logits = execute(onnx.load(tmp_path / "model.onnx"), images.numpy())["logits"]
    np.testing.assert_allclose(logits, model(images).detach(), atol=1e-4)


def test_exported_model_is_left_as_it_was(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True), nn.Flatten(), nn.Linear(144, 2)).eval()
    model = ImageModel(net, (0.5,) * 3, (0.01,) * 3)
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).to(torch.uint8)
    before = model(images)
    export_onnx(model, (3, 8, 8), tmp_path / "model.onnx", opset=20, metadata={})
    assert torch.equal(model(images), before)
    assert not any("forward" in vars(module) for module in model.modules())
    operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert operators.count("Clip") == 1


def test_model_with_data_dependent_flow_is_refused_with_a_remedy(tmp_path, caplog):
    with pytest.raises(StageFailed, match="torch cannot export this model") as refused:
        export_onnx(_Branching(), (3, 8, 8), tmp_path / "model.onnx", opset=20, metadata={})
    assert "control flow" in refused.value.remedy
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("opset", [18, 19])
def test_older_opsets_are_written_on_request(tmp_path, opset):
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            return self.net(images.float())

    export_onnx(Small(), (3, 4, 4), tmp_path / "model.onnx", opset=opset, metadata={})
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset


def test_reference_logits_do_not_depend_on_the_step(exported):
    model, images = settled("resnet8"), blobs(9, seed=1)
    model.train()
    first = reference_logits(model, images, images_per_step=4)
    assert not model.training
    np.testing.assert_allclose(first, reference_logits(model, images), atol=1e-5)
    assert first.dtype == np.float32
    assert torch.is_grad_enabled()
