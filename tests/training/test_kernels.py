"""quick_convolutions: the same outputs and gradients as torch's, for every shape, and no lasting change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from calkd_edge.models import MODELS
from calkd_edge.training.kernels import PointwiseConvolution, SmallDepthwiseConvolution, quick_convolutions

CONVOLUTIONS = [
    pytest.param(nn.Conv2d(12, 20, 1, bias=False), size, id=f"pointwise-{size}") for size in (1, 2, 4, 5, 8)
]
CONVOLUTIONS += [
    pytest.param(nn.Conv2d(12, 18, 1, groups=groups, bias=bias), size, id=f"groups{groups}-{size}-{bias}")
    for groups in (1, 3)
    for size in (2, 6)
    for bias in (False, True)
]
CONVOLUTIONS += [
    pytest.param(
        nn.Conv2d(10, 10, kernel, stride, padding, groups=10, bias=bias),
        size,
        id=f"depthwise{kernel}-stride{stride}-pad{padding}-{size}-{bias}",
    )
    for kernel, padding in ((3, 1), (5, 2), (3, 2), (5, 4))
    for stride in (1, 2, 3)
    for size in (1, 2, 3, 4, 7)
    for bias in (False, True)
]
CONVOLUTIONS += [
    pytest.param(nn.Conv2d(8, 12, 1, stride, bias=bias), size, id=f"pointwise-stride{stride}-{size}-{bias}")
    for stride in (2, (1, 3))
    for size in (2, 5, 8)
    for bias in (False, True)
]


def both(module, x):
    """Outputs and gradients by torch and by the faster routes."""
    x = x.to(memory_format=torch.channels_last)
    result = []
    for quick in (False, True):
        twin = copy.deepcopy(module).to(memory_format=torch.channels_last).train()
        arguments = x.clone(memory_format=torch.preserve_format).requires_grad_()
        if quick:
            with quick_convolutions(twin):
                y = twin(arguments)
        else:
            y = twin(arguments)
        generator = torch.Generator().manual_seed(3)
        (y * torch.randn(y.shape, generator=generator)).sum().backward()
        result.append([y.detach(), arguments.grad, *(weight.grad for weight in twin.parameters())])
    return zip(*result, strict=True)


@pytest.mark.parametrize(("module", "size"), CONVOLUTIONS)
def test_faster_routes_give_torchs_results_and_gradients(module, size):
    torch.manual_seed(1)
    x = torch.randn(6, module.in_channels, size, size + (size > 1))
    for expected, got in both(module, x):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_strided_pointwise_convolution_of_an_odd_number_of_images_is_safe():
    """torch's own route ends the process there, on processors with AVX-512."""
    torch.manual_seed(1)
    convolution, x = nn.Conv2d(4, 8, 1, stride=2, bias=False), torch.randn(21, 4, 32, 32)
    convolution(x).sum().backward()
    expected = convolution.weight.grad.clone()
    convolution.weight.grad = None
    convolution.to(memory_format=torch.channels_last)
    with quick_convolutions(convolution):
        for _ in range(50):
            convolution.weight.grad = None
            convolution(x.to(memory_format=torch.channels_last)).sum().backward()
    torch.testing.assert_close(convolution.weight.grad, expected, rtol=1e-4, atol=1e-3)


def test_routes_pass_a_numerical_gradient_check():
    torch.manual_seed(2)
    for size in (2, 5):
        x = torch.randn(3, 6, size, size, dtype=torch.float64).to(memory_format=torch.channels_last)
        weight = torch.randn(4, 3, 1, 1, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda a, b: PointwiseConvolution.apply(a, b, 2), (x.requires_grad_(), weight)
        )
        kernel = torch.randn(6, 1, 3, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda a, b: SmallDepthwiseConvolution.apply(a, b, (2, 1), (1, 1)), (x.requires_grad_(), kernel)
        )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_v2", {"width": 0.25}),
        ("mobilenet_v3_small", {"width": 0.5}),
        ("shufflenet_v2", {"width": 0.5}),
    ],
)
def test_gradients_of_complete_networks_agree(name, settings):
    torch.manual_seed(0)
    net = MODELS.load(name)(10, (3, 32, 32), **settings)
    for expected, got in both(net, torch.randn(8, 3, 32, 32)):
        # A weight before a normalisation has no gradient but rounding: compared with the others' size.
        scale = expected.abs().max().clamp_min(0.1)
        assert float((got - expected).abs().max() / scale) < 2e-3


def test_routes_are_used_inside_the_block_only():
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 3, padding=1, groups=8))
    x = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    net.train()
    with quick_convolutions(net):
        names = set()
        pending = [net(x).grad_fn]
        while pending:
            node = pending.pop()
            names.add(type(node).__name__)
            pending += [parent for parent, _ in node.next_functions if parent is not None]
        assert {"PointwiseConvolutionBackward", "SmallDepthwiseConvolutionBackward"} <= names
        net.eval()
        assert type(net[0](x).grad_fn).__name__ == "ConvolutionBackward0"
    assert not any("forward" in vars(module) for module in net.modules())


def test_other_inputs_and_convolutions_go_to_torch():
    net = nn.Sequential(
        nn.Conv2d(16, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 3, padding="same", groups=4),
    ).train()
    with quick_convolutions(net):
        assert not any("forward" in vars(module) for module in net.modules())
    convolution = nn.Conv2d(4, 4, 1).double().train()
    with quick_convolutions(convolution):
        x = torch.randn(2, 4, 3, 3, dtype=torch.float64).to(memory_format=torch.channels_last)
        assert type(convolution(x).grad_fn).__name__ == "ConvolutionBackward0"
        assert type(convolution.float()(torch.randn(2, 4, 3, 3)).grad_fn).__name__ == "ConvolutionBackward0"
