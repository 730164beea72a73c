"""Normalisation over two processes against torch's over all of their images in a single process."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing import spawn

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.training.batch_norm import convert_to_sync, synchronised

SHARES = (5, 11)
EXAMPLES = [
    "plain", "flat", "channels last", "cumulative", "without weights", "untracked", "bf16", "far from zero",
]  # fmt: skip


def example(name):
    """A module and all of its images."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(sum(SHARES), 6, 4, 4, generator=generator) * 2 + 1
    settings = {"momentum": None} if name == "cumulative" else {}
    settings |= {"affine": False} if name == "without weights" else {}
    settings |= {"track_running_stats": False} if name == "untracked" else {}
    module = (nn.BatchNorm1d if name == "flat" else nn.BatchNorm2d)(6, **settings)
    if module.affine:
        nn.init.uniform_(module.weight, 0.5, 2.0)
        nn.init.uniform_(module.bias, -1.0, 1.0)
    x = x.mean((2, 3)) if name == "flat" else x
    x = x.bfloat16() if name == "bf16" else x
    x = x * 1e-2 + 1e3 if name == "far from zero" else x
    x = x.contiguous(memory_format=torch.channels_last) if name == "channels last" else x
    return module, x


def run(module, x, weights, steps=3):
    """Outputs and gradients of x in each step, with running statistics."""
    seen = []
    for step in range(steps):
        batch = (x * (1 + 0.1 * step)).detach().requires_grad_()
        y = module(batch)
        (y.float() * weights).sum().backward()
        seen += [y.detach(), batch.grad]
    return seen


def rank_of_two(rank, meeting, folder):
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    ours = slice(0, SHARES[0]) if rank == 0 else slice(SHARES[0], None)
    for name in EXAMPLES:
        torch.manual_seed(4)
        module, x = example(name)
        weights = torch.randn(x.shape)
        with synchronised(module):
            seen = run(module, x[ours], weights[ours])
        gradients = [weight.grad for weight in module.parameters()]
        torch.save((seen, gradients, module.state_dict()), folder / f"{name}.{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder with what each of two processes computed for each example."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(rank_of_two, (str(folder / "meeting"), folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_two_processes_normalise_like_a_single_process(name, results):
    torch.manual_seed(4)
    module, x = example(name)
    weights = torch.randn(x.shape)
    expected = run(module, x, weights)
    ranks = [torch.load(results / f"{name}.{rank}.pt", weights_only=True) for rank in range(2)]
    # bf16 keeps 8 bits; at 1e3 with a deviation of 0.01, float32 keeps about 8 bits of it as well
    tolerance = {"bf16": 2e-2, "far from zero": 1e-2}.get(name, 2e-5)
    for first, second, complete in zip(ranks[0][0], ranks[1][0], expected, strict=True):
        scale = complete.float().abs().max()
        torch.testing.assert_close(
            torch.cat([first, second]), complete, rtol=0, atol=float(tolerance * scale.clamp(min=1))
        )
    for first, second, weight in zip(ranks[0][1], ranks[1][1], module.parameters(), strict=True):
        torch.testing.assert_close(first + second, weight.grad, rtol=tolerance, atol=20 * tolerance)
    assert ranks[0][2].keys() == ranks[1][2].keys() == module.state_dict().keys()
    for key, value in module.state_dict().items():
        assert torch.equal(ranks[0][2][key], ranks[1][2][key])
        torch.testing.assert_close(ranks[0][2][key], value, rtol=max(tolerance, 1e-5), atol=1e-5)


def test_outside_the_block_and_in_evaluation_a_module_is_unchanged():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    net[1].running_mean += 0.5
    x = torch.randn(2, 3, 5, 5)
    expected = copy.deepcopy(net)(x)
    with synchronised(net):
        assert torch.equal(net(x), expected)
        assert "forward" in vars(net[1])
    assert "forward" not in vars(net[1])


def test_tracked_modules_are_returned_after_the_conversion_for_gpus():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.BatchNorm2d(4))
    module, kept = convert_to_sync(net, [net[0][0], net[0][1]])
    assert [type(item) for item in kept] == [nn.Conv2d, nn.SyncBatchNorm]
    assert {id(item) for item in kept} <= {id(item) for item in module.modules()}


class WithActivation(nn.BatchNorm2d):
    """As timm's: more than a normalisation."""

    def forward(self, x):
        return torch.relu(super().forward(x))


@pytest.mark.parametrize(
    "change", [lambda net: convert_to_sync(net, []), lambda net: synchronised(net).__enter__()]
)
def test_a_normalisation_with_more_functions_is_refused(change):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), WithActivation(4))
    with pytest.raises(EnvironmentProblem, match="WithActivation cannot be joined"):
        change(net)
    assert "forward" not in vars(net[1])
