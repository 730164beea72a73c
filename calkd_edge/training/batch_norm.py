"""Batch normalisation over the images of all processes, so that a step is the same for any number of them.

On GPUs this is torch's SyncBatchNorm. It refuses CPU tensors, so on CPUs the modules stay and only their
forward is replaced during training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from calkd_edge.errors import EnvironmentProblem

TORCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def convert_to_sync(module: nn.Module, tracked: Sequence[nn.Module]) -> tuple[nn.Module, list[nn.Module]]:
    """The network with torch's SyncBatchNorm instead of its batch normalisations, for GPUs.

    Args:
        module: the network.
        tracked: modules of the network; the modules at their paths are returned as well.

    Raises:
        EnvironmentProblem: see `synchronised`.
    """
    _torch_norms(module)
    paths = [path for path, child in module.named_modules() if any(child is norm for norm in tracked)]
    changed: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch's stub
    return changed, [changed.get_submodule(path) for path in paths]


@contextmanager
def synchronised(module: nn.Module) -> Iterator[None]:
    """Inside the block, `module`'s batch normalisations in training mode use the statistics of all processes.

    For CPUs. Every process must run the same modules in the same order; the numbers of images may differ.

    Raises:
        EnvironmentProblem: a batch normalisation is not one of torch's and may do more than normalise.
    """
    norms = _torch_norms(module)
    for norm in norms:
        norm.forward = partial(_forward, norm)  # type: ignore[method-assign]  # undone below
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _torch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Every batch normalisation of `module`; raises EnvironmentProblem where one is not torch's."""
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    foreign = sorted({type(norm).__name__ for norm in norms if type(norm) not in TORCH_NORMS})
    if foreign:
        raise EnvironmentProblem(
            f"the statistics of {', '.join(foreign)} cannot be joined over several processes: this is not "
            "torch's batch normalisation and may do more, such as an activation",
            remedy="Set sync_batch_norm: false, or train in one process.",
        )
    return norms


def _forward(module: _BatchNorm, x: Tensor) -> Tensor:
    if not module.training:
        return type(module).forward(module, x)
    if distributed.get_world_size() * x.numel() <= x.shape[1]:
        raise ValueError(
            f"batch normalisation needs more than one value for each channel, got {list(x.shape)}"
        )
    y: Tensor
    y, mean, variance, count = SynchronisedBatchNorm.apply(x, module.weight, module.bias, module.eps)
    if module.track_running_stats:
        track(module, mean, variance * (count / (count - 1)))
    return y


def track(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does, by a batch's mean and unbiased variance [C]."""
    assert module.running_mean is not None
    assert module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked.add_(1)
    share = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
    module.running_mean.lerp_(mean, share)
    module.running_var.lerp_(variance, share)


class SynchronisedBatchNorm(torch.autograd.Function):
    """Normalisation by the mean and variance over the x of all processes.

    x: [B, C, ...] of this process; weight, bias: [C] float32 or None. Returns y like x and, over all
    processes, the mean [C], the biased variance [C] and the number of values per channel [1].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gather the statistics of each process and join them by their distances from the common mean."""
        values = _at_least_float32(x)
        variance, mean = torch.var_mean(values, _all_but_channels(x), correction=0)
        count = mean.new_tensor([x.numel() // x.shape[1]])
        mean, variance, count = _joined(mean, variance, count)
        y = torch.batch_norm(values, weight, bias, mean, variance, False, 0.0, eps, False)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """Gradients of x, weight and bias.

        With n = (x - mean) / deviation, the gradient of x is
        weight / deviation * (g - mean(g) - n mean(g n)), with means over all processes. The gradients of
        weight and bias are the sums of this process, which DDP then averages.
        """
        x, weight, mean, variance, count = ctx.saved_tensors
        of_y, values = _at_least_float32(gradient), _at_least_float32(x)
        # torch's backward pass with fixed statistics computes the first term of x and both sums at once.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            of_y, values, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_bias, of_weight])
        distributed.all_reduce(sums)
        constant, slope = sums / count
        inverse = (variance + ctx.eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        slope = slope * inverse
        by_channel = [1, -1] + [1] * (x.dim() - 2)
        of_x.sub_((scale * (constant - slope * mean)).view(by_channel))
        of_x.addcmul_(values, (scale * slope).view(by_channel), value=-1)
        learns = weight is not None
        return of_x.to(x.dtype), of_weight if learns else None, of_bias if learns else None, None


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _joined(mean: Tensor, variance: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics over all processes, from the statistics of each process.

    Squares are summed around the means: a sum of squares minus a squared sum would lose the variance of a
    channel whose mean is far from zero.
    """
    packed = torch.cat([mean, variance, count])
    every = [torch.empty_like(packed) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, packed)
    means, variances, counts = torch.split(torch.stack(every), [len(mean), len(mean), 1], dim=1)
    total = counts.sum(0)
    shares = counts / total
    common = (shares * means).sum(0)
    spread = (shares * (variances + (means - common).square())).sum(0)
    return common, spread, total
