"""Every model builds, is documented, and has the number of parameters that its paper or its formula gives."""

from __future__ import annotations

import inspect
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.models import MODELS
from calkd_edge.registry import settings_model

NEEDED = {"torchvision": {"architecture": "resnet18"}, "timm": {"architecture": "resnet10t"}}
IMAGENET, CIFAR = (3, 224, 224), (3, 32, 32)


def build(name, classes, shape, **arguments):
    settings = MODELS.settings(name, NEEDED.get(name, {}) | arguments, where="test")
    return MODELS.load(name)(classes, shape, **settings)


def parameters(net) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def forward(net, classes, shape):
    with torch.no_grad():
        logits = net.eval()(torch.zeros(2, *shape))
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", list(MODELS))
def test_model_builds_with_defaults_on_small_images(name):
    forward(build(name, 7, CIFAR), 7, CIFAR)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_model_builds_with_defaults_on_large_images(name):
    forward(build(name, 7, IMAGENET), 7, IMAGENET)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["googlenet", "inception_v3", "vit_b_32", "efficientnet_b0", "swin_t"]
)
def test_other_models_of_torchvision_return_logits_alone_in_training_too(architecture):
    shape = (3, 299, 299) if architecture == "inception_v3" else IMAGENET
    net = build("torchvision", 5, shape, architecture=architecture)
    forward(net, 5, shape)
    net.train()
    assert net(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", list(MODELS))
def test_model_is_documented_and_annotated(name):
    target = MODELS.load(name)
    assert (inspect.getdoc(target) or "").partition("\n")[0].endswith(".")
    for parameter in inspect.signature(target).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name
    assert list(inspect.signature(target).parameters)[:2] == ["num_classes", "image_shape"]
    expected = set(list(inspect.signature(target).parameters)[2:])
    assert set(settings_model(target).model_fields) == expected


def residual_net(depth: int, classes: int) -> int:
    """Parameters of a CIFAR residual net with 1x1 shortcuts, added up layer by layer."""

    def convolution(inputs, outputs, size):
        return inputs * outputs * size**2 + 2 * outputs  # and its batch norm

    blocks = (depth - 2) // 6
    total = convolution(3, 16, 3) + (2 * blocks) * convolution(16, 16, 3)
    for inputs, outputs in ((16, 32), (32, 64)):
        total += convolution(inputs, outputs, 3) + (2 * blocks - 1) * convolution(outputs, outputs, 3)
        total += convolution(inputs, outputs, 1)
    return total + 64 * classes + classes


@pytest.mark.parametrize(
    ("depth", "millions"), [(8, 0.08), (14, 0.18), (20, 0.27), (32, 0.47), (44, 0.66), (56, 0.86), (110, 1.7)]
)
def test_residual_nets_have_the_published_sizes(depth, millions):
    for classes in (10, 100):
        assert parameters(build(f"resnet{depth}", classes, CIFAR)) == residual_net(depth, classes)
    assert residual_net(depth, 10) / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.006)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("resnet8x4", {}, 1_233_540),
        ("resnet32x4", {}, 7_433_860),
        ("resnet50", {}, 23_705_252),
        ("wrn_16_1", {}, 180_916),
        ("wrn_16_2", {}, 703_284),
        ("wrn_40_1", {}, 569_780),
        ("wrn_40_2", {}, 2_255_156),
        ("vgg8", {}, 3_965_028),
        ("vgg11", {}, 9_277_284),
        ("vgg13", {}, 9_462_180),
        ("vgg16", {}, 14_774_436),
        ("vgg19", {}, 20_086_692),
        ("shufflenet_v1", {}, 949_258),
        ("shufflenet_v2", {}, 1_355_528),
        # The published 812,836 have an expansion in the first block, 16 * 16 weights and a normalisation.
        ("mobilenet_v2", {"width": 0.5, "divisor": 1}, 812_836 - 288),
    ],
)
def test_cifar_forms_have_the_sizes_of_the_distillation_literature(name, arguments, expected):
    """At 100 classes, as mdistiller and RepDistiller build them."""
    assert parameters(build(name, 100, CIFAR, **arguments)) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "millions"),
    [
        ("mobilenet_v1", {}, 569),
        ("mobilenet_v2", {}, 300),
        ("mobilenet_v2", {"width": 0.5}, 97),
        ("mobilenet_v3_small", {}, 56),
        ("mobilenet_v3_large", {}, 219),
        ("shufflenet_v1", {}, 137),
        ("shufflenet_v2", {"width": 0.5}, 41),
        ("shufflenet_v2", {"width": 1.0}, 146),
        ("shufflenet_v2", {"width": 1.5}, 299),
        ("shufflenet_v2", {"width": 2.0}, 591),
    ],
)
def test_mobile_networks_have_the_multiplications_of_their_papers(name, arguments, millions):
    """Multiply-adds at 224 pixels; the papers round, and some count poolings and normalisations in."""
    net = build(name, 1000, IMAGENET, **arguments).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *IMAGENET))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, rel=0.015)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mobilenet_v1", {}, 4_231_976),
        ("shufflenet_v1", {}, 1_865_728),
        ("mobilenet_v2", {}, 3_504_872),
        ("mobilenet_v3_small", {}, 2_542_856),
        ("mobilenet_v3_large", {}, 5_483_032),
        ("shufflenet_v2", {"width": 0.5}, 1_366_792),
        ("shufflenet_v2", {"width": 1.0}, 2_278_604),
        ("shufflenet_v2", {"width": 1.5}, 3_503_624),
        ("shufflenet_v2", {"width": 2.0}, 7_393_996),
    ],
)
def test_imagenet_forms_have_the_published_sizes(name, arguments, expected):
    assert parameters(build(name, 1000, IMAGENET, **arguments)) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "side"),
    [
        ("mobilenet_v1", {}, 2),
        ("mobilenet_v2", {}, 2),
        ("mobilenet_v3_small", {}, 2),
        ("mobilenet_v3_large", {}, 2),
        ("shufflenet_v2", {}, 4),
    ],
)
def test_cifar_form_ends_with_more_than_one_pixel(name, arguments, side):
    result = []
    net = build(name, 10, CIFAR, **arguments).eval()
    last = net.conv5 if name == "shufflenet_v2" else net.features
    last.register_forward_hook(lambda module, inputs, output: result.append(tuple(output.shape[2:])))
    net(torch.zeros(1, *CIFAR))
    assert result == [(side, side)]


def test_form_depends_on_the_image_size_unless_set():
    small, named = build("mobilenet_v2", 10, CIFAR), build("mobilenet_v2", 10, CIFAR, form="imagenet")
    strides = [net.features[2].conv[1][0].stride for net in (small, named)]
    assert strides == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shufflenet_v2", {"width": 0.7}),
        ("mobilenet_v2", {"width": 0}),
        ("mobilenet_v2", {"dropout": 1.0}),
        ("mobilenet_v2", {"form": "mnist"}),
        ("resnet20", {"depth": 3}),
        ("mobilnet_v2", {}),
    ],
)
def test_unknown_models_and_settings_are_refused(name, arguments):
    with pytest.raises(RecipeError):
        build(name, 10, CIFAR, **arguments)


def test_unknown_architecture_is_refused_with_a_suggestion():
    with pytest.raises(RecipeError, match="no classification model named 'resnet81'") as refused:
        build("torchvision", 10, CIFAR, architecture="resnet81")
    assert "Did you mean 'resnet" in refused.value.remedy


@pytest.mark.parametrize(
    ("architecture", "shape"), [("vit_tiny_patch16_224", (3, 64, 64)), ("mobilenetv3_small_050", CIFAR)]
)
def test_timms_models_take_the_images_size(architecture, shape):
    forward(build("timm", 5, shape, architecture=architecture), 5, shape)


def test_timms_unknown_and_absent_models_are_refused(monkeypatch):
    with pytest.raises(RecipeError, match="timm has no model named 'resnet1t'") as refused:
        build("timm", 5, CIFAR, architecture="resnet1t")
    assert "Did you mean 'resnet" in refused.value.remedy
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EnvironmentProblem, match="needs timm, which is not installed") as absent:
        build("timm", 5, CIFAR, architecture="resnet18")
    assert "pip install" in absent.value.remedy


@pytest.mark.parametrize("name", ["vgg8", "vgg13"])
def test_vgg_pools_once_more_from_64_pixels_on(name):
    for side, left in ((32, 4), (64, 4)):
        result = []
        net = build(name, 10, (3, side, side)).eval()
        net.block4.register_forward_hook(lambda module, inputs, output, result=result: result.append(output))
        net(torch.zeros(1, 3, side, side))
        assert result[0].shape[2:] == (left, left)
