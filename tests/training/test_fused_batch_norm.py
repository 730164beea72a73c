"""fused_batch_norm: what torch computes, at the same hooks, and never what was not asked to be fused."""

from __future__ import annotations

import copy
import statistics

import pytest
import torch
from torch import nn

from calkd_edge.models import MODELS
from calkd_edge.training import fused_batch_norm as fused
from calkd_edge.training.fused_batch_norm import fused_batch_norm

ACTIVATIONS = [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardswish()]
SHAPES = [(6, 12, 5, 7), (2, 3, 1, 1), (3, 1, 4, 4), (8, 48, 16, 16), (5, 33, 3, 43)]


@pytest.fixture(autouse=True)
def maps_of_every_size(monkeypatch):
    """Small maps are left to torch for speed alone."""
    monkeypatch.setattr(fused, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(fused, "FEWEST_VALUES", 1)


def operations(y: torch.Tensor) -> list[str]:
    """Names of all nodes behind y."""
    names, pending = [], [y.grad_fn]
    while pending:
        node = pending.pop()
        names.append(type(node).__name__)
        pending += [parent for parent, _ in node.next_functions if parent is not None]
    return names


def pair(channels: int, activation: nn.Module) -> nn.Sequential:
    """A normalisation with a scale and bias, and its activation."""
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 3)
    nn.init.normal_(norm.bias)
    return nn.Sequential(norm, activation).train()


def results(net: nn.Module, x: torch.Tensor, *, is_fused: bool) -> list[torch.Tensor]:
    """Output, gradients and running statistics."""
    net = copy.deepcopy(net)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    if is_fused:
        with fused_batch_norm(net):
            y = net(x)
        assert "BatchNormActivationBackward" in operations(y)
    else:
        y = net(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(weight.grad for weight in net.parameters()), *net.buffers()]


def clear_of_edges(x: torch.Tensor, net: nn.Sequential) -> torch.Tensor:
    """x without values so near to an edge of the activation that rounding decides on which side they lie."""
    edges = torch.tensor([-3.0, 0.0, 3.0, 6.0], dtype=torch.float64)
    for _ in range(20):
        inner = copy.deepcopy(net[0]).double()(x.double()).detach()
        near = ((inner[..., None] - edges).abs() < 1e-4).any(-1)
        if not near.any():
            break
        x = torch.where(near, x + 0.01, x)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_values_gradients_and_statistics_are_those_of_float64(activation, shape, mean):
    torch.manual_seed(1)
    net = pair(shape[1], activation)
    x = clear_of_edges(torch.randn(shape) + mean, net)
    expected = results(net.double(), x.double(), is_fused=False)
    torchs = results(net.float(), x, is_fused=False)
    for got, wanted, theirs in zip(results(net.float(), x, is_fused=True), expected, torchs, strict=True):
        wanted = wanted.to(got.dtype)
        scale = wanted.abs().max().clamp_min(1)
        error, of_torch = (float(((each - wanted) / scale).abs().max()) for each in (got, theirs))
        assert error <= max(3 * of_torch, 2e-6 * (1 + mean))


@pytest.mark.parametrize("momentum", [0.01, None])
@pytest.mark.parametrize("tracks", [True, False])
def test_running_statistics_move_as_torchs(momentum, tracks):
    norm = nn.BatchNorm2d(4, momentum=momentum, track_running_stats=tracks)
    twins = [nn.Sequential(copy.deepcopy(norm), nn.ReLU()).train() for _ in range(2)]
    for step in range(3):
        x = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(step))
        x = x.to(memory_format=torch.channels_last)
        twins[0](x)
        with fused_batch_norm(twins[1]):
            twins[1](x)
    for got, expected in zip(twins[1].buffers(), twins[0].buffers(), strict=True):
        torch.testing.assert_close(got, expected)


def test_not_a_number_stays_one():
    """A training that diverges must be seen."""
    net = pair(3, nn.ReLU6())
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    x[1, 1, 2, 2] = float("nan")
    got = results(net, x, is_fused=True)
    assert got[0][:, 1].isnan().all()
    assert got[0][:, [0, 2]].isfinite().all()
    assert got[1][:, 1].isnan().all()


def test_bits_do_not_depend_on_threads():
    net = pair(24, nn.Hardswish())
    x = torch.randn(32, 24, 20, 20).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    try:
        each = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            each.append(results(net, x, is_fused=True))
    finally:
        torch.set_num_threads(threads)
    for others in zip(*each, strict=True):
        assert all(torch.equal(others[0], other) for other in others[1:])


NETWORKS = {
    "mobilenet_v1": 27,
    "mobilenet_v2": 35,
    "mobilenet_v3_small": 23,
    "shufflenet_v1": 33,
    "shufflenet_v2": 37,
    "resnet20": 10,
    "wrn_16_2": 13,
}
"""Pairs of each network, counted by hand: one for each activation that directly follows a normalisation."""


@pytest.mark.parametrize("name", NETWORKS)
def test_every_activation_behind_a_normalisation_is_fused(name):
    assert len(fused._pairs(MODELS.load(name)(10, (3, 32, 32)))) == NETWORKS[name]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet20", "shufflenet_v1"])
def test_gradients_of_complete_networks_are_as_exact_as_torchs(name):
    torch.manual_seed(0)
    net = MODELS.load(name)(10, (3, 32, 32)).train().to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)
    kinds = (torch.float64, torch.float32)
    exact, torchs = (results(copy.deepcopy(net).to(kind), x.to(kind), is_fused=False) for kind in kinds)
    errors, of_torch = [], []
    for got, wanted, theirs in zip(results(net, x, is_fused=True), exact, torchs, strict=True):
        scale = wanted.abs().max().clamp_min(0.1)
        errors.append(float(((got - wanted) / scale).norm()))
        of_torch.append(float(((theirs - wanted) / scale).norm()))
    # Where rounding moves a value over a ReLU's edge, some gradients jump, in torch's way as well.
    assert statistics.median(errors) <= 4 * statistics.median(of_torch)
    assert errors[0] <= 4 * of_torch[0]


class Forked(nn.Module):
    """A normalisation that an activation and something else read."""

    def __init__(self):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        """Both added."""
        inner = self.norm(x)
        return self.relu(inner) + inner


class Twice(nn.Module):
    """A normalisation that runs twice, and an activation that runs after a sum as well."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.relu = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        """Only `first` is read by the activation alone."""
        inner = self.relu(self.first(x))
        return self.relu(self.norm(self.relu(self.norm(inner)) - 0.5) + x)


class Branching(nn.Module):
    """Code that depends on values."""

    def __init__(self):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x):
        """The activation for some values only."""
        inner = self.norm(x)
        return self.relu(inner) if x.sum() > 1e9 else inner


@pytest.mark.parametrize(("kind", "count"), [(Forked, 0), (Twice, 1), (Branching, 0)])
def test_what_others_read_is_not_fused(kind, count):
    torch.manual_seed(0)
    net = kind().train()
    assert len(fused._pairs(net)) == count
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    expected = copy.deepcopy(net)(x)
    with fused_batch_norm(net):
        torch.testing.assert_close(net(x), expected)
    assert not any("forward" in vars(module) for module in net.modules())


def test_hooks_see_what_they_would_see():
    net = pair(3, nn.ReLU())
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    seen = []
    with fused_batch_norm(net):
        for register in (net[0].register_forward_hook, net[1].register_forward_pre_hook):
            hook = register(lambda module, *values: seen.append(values[-1]))
            assert "BatchNormActivationBackward" not in operations(net(x))
            hook.remove()
        assert "BatchNormActivationBackward" in operations(net(x))
    assert all((value[0] if isinstance(value, tuple) else value).min() < 0 for value in seen)


def test_other_maps_and_modes_go_to_torch():
    net = pair(3, nn.ReLU())
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    with fused_batch_norm(net):
        assert "BatchNormActivationBackward" not in operations(net(x))
        last = x.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            assert "BatchNormActivationBackward" not in operations(net(last))
        net.eval()
        assert "BatchNormActivationBackward" not in operations(net(last))
        net.train()
        with pytest.raises(ValueError, match="more than 1 value"):
            net(torch.randn(1, 3, 1, 1))


def test_maps_that_torch_handles_as_fast_are_left_to_it(monkeypatch):
    monkeypatch.setattr(fused, "FEWEST_CHANNELS", 4)
    monkeypatch.setattr(fused, "FEWEST_VALUES", 4 * 4 * 25)
    for channels, images, is_fused in ((4, 4, True), (3, 8, False), (4, 3, False)):
        net = pair(channels, nn.ReLU())
        x = torch.randn(images, channels, 5, 5).to(memory_format=torch.channels_last)
        with fused_batch_norm(net):
            assert ("BatchNormActivationBackward" in operations(net(x))) is is_fused


def test_without_a_compiler_torch_computes_and_that_is_told(monkeypatch, caplog):
    from calkd_edge.training import batch_norm_jit

    monkeypatch.setattr(batch_norm_jit, "loops_of", lambda _: (_ for _ in ()).throw(OSError("no OpenMP")))
    fused._jit.cache_clear()
    net = pair(3, nn.ReLU())
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    try:
        for _ in range(2):
            with fused_batch_norm(net):
                assert "BatchNormActivationBackward" not in operations(net(x))
    finally:
        fused._jit.cache_clear()
    assert len([line for line in caplog.messages if "no OpenMP" in line]) == 1
