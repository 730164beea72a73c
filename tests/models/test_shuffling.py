"""Channel shuffle: the paper's order, its gradients, and the same outputs in training and evaluation."""

from __future__ import annotations

import pytest
import torch

from calkd_edge.models import MODELS
from calkd_edge.models.shuffling import Interleaving, channel_shuffle

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(channels, seed=0, dtype=torch.float64):
    return torch.randn(2, channels, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (6, 3), (12, 3), (5, 1), (5, 5)])
def test_shuffle_takes_a_channel_of_each_group_in_turn(channels, groups, layout):
    x = drawn(channels).to(memory_format=layout)
    size = channels // groups
    order = [group * size + index for index in range(size) for group in range(groups)]
    assert torch.equal(channel_shuffle(x, groups), x[:, order])
    assert torch.equal(channel_shuffle(x, groups), torch.nn.functional.channel_shuffle(x, groups))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_interleaving_is_concatenation_and_shuffle(layout):
    a, b = (drawn(5, seed).to(memory_format=layout) for seed in (1, 2))
    assert torch.equal(Interleaving.apply(a, b), channel_shuffle(torch.cat([a, b], dim=1), 2))


def test_gradients_are_finite_differences_and_lie_channels_last():
    a, b = (drawn(5, seed).requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(Interleaving.apply, (a, b))
    assert torch.autograd.gradcheck(lambda x: channel_shuffle(x, 3), (drawn(6).requires_grad_(),))
    came = []
    doubled = [2 * x for x in (a, b)]
    for x in doubled:
        x.register_hook(came.append)
    Interleaving.apply(*doubled).square().sum().backward()
    assert [gradient.is_contiguous(memory_format=torch.channels_last) for gradient in came] == [True, True]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "settings"), [("shufflenet_v2", {"width": 0.5}), ("shufflenet_v1", {})])
def test_units_give_the_same_in_training_and_in_evaluation(name, settings, layout):
    torch.manual_seed(0)
    net = MODELS.load(name)(10, (3, 32, 32), **settings).to(memory_format=layout).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # so that evaluation sees this very batch's statistics
            module.eval()
    images = drawn(3, dtype=torch.float32).repeat(1, 1, 10, 8)[:, :, :, :30].to(memory_format=layout)
    trained = net(images)
    assert torch.allclose(trained, net.eval()(images), atol=1e-5)
