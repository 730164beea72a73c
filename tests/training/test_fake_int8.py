"""Training with rounding computes the same as the int8 file in ONNX Runtime."""

from __future__ import annotations

import copy
import json

import numpy as np
import onnx
import pytest
import torch
from exported_nets import blobs, settled
from torch import nn
from torch.nn import functional

from calkd_edge.export.torch_export import export_onnx
from calkd_edge.models import MODELS
from calkd_edge.onnx_model.graph import metadata
from calkd_edge.quantization.int8_qat import RANGES, int8_qat
from calkd_edge.quantization.placement import quantized_inputs
from calkd_edge.quantization.ranges import activation_ranges
from calkd_edge.quantization.source import Images
from calkd_edge.training.fake_int8 import fake_int8, layers_of, norms_of, ranges_of
from calkd_edge.training.kernels import quick_convolutions

NETS = [
    "mobilenet_v2",
    "shufflenet_v2",
    pytest.param("resnet20", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETS)
def trained_for(request, tmp_path_factory):
    """A net, its layers, their ranges, and its exported file with them."""
    net = settled(request.param)
    images = torch.from_numpy(blobs(64, seed=7))
    layers = layers_of(net, images[:2])
    ranges = ranges_of(net, layers, lambda: iter(images.split(32)), "percentile")
    target = tmp_path_factory.mktemp("net") / "model.onnx"
    export_onnx(net, (3, 32, 32), target, opset=20, metadata={RANGES: json.dumps(ranges)})
    return net, layers, ranges, onnx.load(target), images


def no_images(count):
    raise AssertionError("every range was trained, yet images were asked for")


def test_the_ranges_are_those_of_the_exported_file(trained_for):
    _, layers, ranges, exported, images = trained_for
    values = quantized_inputs(exported)
    expected = activation_ranges(exported, values, images.numpy(), "percentile")
    first = {layer.path: ranges[layer.path] for layer in layers if layer.reads == layer.path}
    np.testing.assert_allclose(sorted(first.values()), sorted(expected.values()), rtol=1e-3)


@pytest.mark.parametrize("scales", ["free", "dyadic"])
def test_the_trained_network_agrees_with_its_file(trained_for, scales, execute):
    net, layers, ranges, exported, images = trained_for
    quantized = int8_qat(exported, Images(no_images), scales=scales)
    assert RANGES not in metadata(quantized)
    executed = execute(quantized, images.numpy(), simulate=True)["logits"]
    with torch.no_grad(), fake_int8(layers, ranges, scales):
        result = net(images).numpy()
    plain = net(images).detach().numpy()
    # Sums of floats differ in their last bits, so a value at the edge of a step may round to either side.
    difference, rounding = np.abs(result - executed), np.abs(plain - executed)
    assert np.median(difference) < 0.01 * np.median(rounding)
    assert difference.mean() < 0.2 * rounding.mean()


def test_everything_is_unchanged_outside_the_block(trained_for):
    net, layers, ranges, _, images = trained_for
    before = net(images)
    with fake_int8(layers, ranges, "dyadic"):
        assert not torch.equal(net(images), before)
    assert torch.equal(net(images), before)
    with quick_convolutions(net):
        forwards = {layer.path: vars(layer.module).get("forward") for layer in layers}
        with fake_int8(layers, ranges, "dyadic"):
            pass
        assert forwards == {layer.path: vars(layer.module).get("forward") for layer in layers}


def test_weights_normalisation_and_bias_learn_through_the_rounding():
    net = settled("resnet8")
    images = torch.from_numpy(blobs(32, seed=3))
    layers = layers_of(net, images[:2])
    ranges = ranges_of(net, layers, lambda: iter([images]), "min_max")
    statistics = {key: value.clone() for key, value in net.named_buffers()}
    labels = torch.arange(32) % 10
    rate = torch.optim.Adam(net.parameters(), lr=0.005)
    net.train()
    for norm in norms_of(layers):
        norm.eval()
    losses = []
    with quick_convolutions(net), fake_int8(layers, ranges, "dyadic"):
        for _ in range(20):
            loss = functional.cross_entropy(net(images), labels)
            rate.zero_grad()
            loss.backward()
            assert all(weight.grad is not None for weight in net.parameters())
            rate.step()
            losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(statistics[key], value) for key, value in net.named_buffers())


class Branching(nn.Module):
    """A convolution whose output another module reads as well as its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        result = self.conv(images.float())
        return self.head((self.norm(result) + result).mean((2, 3)))


def test_a_normalisation_is_not_folded_where_another_module_reads_its_input():
    net = Branching()
    nn.init.constant_(net.norm.running_var, 9.0)
    layers = layers_of(net, torch.from_numpy(blobs(2, seed=1)))
    assert [(layer.path, layer.norm) for layer in layers] == [("conv", None), ("head", None)]


def test_normalisations_before_convolutions_are_folded_where_possible():
    torch.manual_seed(0)
    net = MODELS.load("wrn_16_1")(10, (3, 32, 32))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    layers = layers_of(net, torch.from_numpy(blobs(2, seed=1)).float() / 255)
    assert 0 < len(norms_of(layers)) < sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


class Tokens(nn.Module):
    """A matrix product per token, which an exported file computes in float."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(torch.relu(self.each(images.float().flatten(2).transpose(1, 2))).mean(1))


def test_a_matrix_product_that_stays_float_in_the_file_is_not_rounded():
    layers = layers_of(Tokens(), torch.from_numpy(blobs(2, seed=1)))
    assert [layer.path for layer in layers] == ["head"]


class InPlace(nn.Module):
    """An in-place activation on a convolution's output, before a normalisation reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.norm = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        result = self.norm(self.relu(self.conv(images.float())))
        result = self.twice(torch.relu(self.twice(result)))
        return self.head(result.mean((2, 3)))


def test_only_a_normalisation_directly_after_a_convolution_is_folded():
    net = InPlace()
    images = torch.from_numpy(blobs(4, seed=1))
    layers = layers_of(net, images)
    assert [layer.path for layer in layers] == ["conv", "twice", "head"]
    assert norms_of(layers) == []
    ranges = ranges_of(net, layers, lambda: iter([images]), "min_max")
    seen = copy.deepcopy(net)
    values = seen.norm(seen.relu(seen.conv(images.float()))).detach()
    largest = max(values.abs().max().item(), torch.relu(seen.twice(values)).abs().max().item())
    assert ranges["twice"] == pytest.approx(largest, rel=1e-5)  # both of its inputs
