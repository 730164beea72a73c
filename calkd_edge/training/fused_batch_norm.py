"""Batch normalisation and the activation behind it in one operation, for training on a CPU.

Both do little arithmetic on large maps, so memory sets their time: torch reads and writes each map 13 times
in a step, one operation 8 times. benchmarks/training/step.py measures what that gives.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from calkd_edge.training.batch_norm import track

log = logging.getLogger(__name__)

ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 0, nn.ReLU6: 1, nn.Hardswish: 2}
"""Kinds that can be fused, and their numbers in batch_norm_jit."""

FEWEST_CHANNELS, FEWEST_VALUES = 24, 1 << 18
"""Of a map: torch is as fast where a pixel has fewer channels, and where a core's cache holds the whole."""


@contextmanager
def fused_batch_norm(module: nn.Module) -> Iterator[None]:
    """Inside the block, each BatchNorm2d of `module` computes the activation that alone reads it.

    That holds for large float32 maps in channels-last memory on a CPU, in training mode, outside autocast,
    and where no hook wants what lies between the two; torch computes everything else as before. The results
    differ by rounding only, and do not depend on the number of threads.
    """
    pairs = _pairs(module) if _jit() is not None else {}
    patched: list[nn.Module] = []
    for norm, activation in pairs.items():
        norm.forward = partial(_normalise, norm, activation)  # type: ignore[method-assign]  # undone below
        activation.forward = partial(_activate, activation)
        patched += [norm, activation]
    try:
        yield
    finally:
        for child in dict.fromkeys(patched):
            del child.forward


@functools.lru_cache
def _jit() -> Any:
    """The compiled loops' module; None, told once, where numba or torch's OpenMP cannot be used."""
    try:
        from calkd_edge.training import batch_norm_jit

        batch_norm_jit.loops_of(batch_norm_jit.RELU)
    except Exception as error:  # whatever a compiler can meet on a machine: torch does the same, more slowly
        log.warning(
            "training takes torch's own batch normalisation, which is slower: %s (%s). numba >= 0.61 and "
            "a torch with OpenMP are wanted for the faster one.",
            error,
            type(error).__name__,
        )
        return None
    return batch_norm_jit


def _pairs(module: nn.Module) -> dict[nn.BatchNorm2d, nn.Module]:
    """Each normalisation whose only reader is an activation, and that activation, both of one parent."""
    pairs: dict[nn.BatchNorm2d, nn.Module] = {}
    for parent in module.modules():
        kinds = {type(child) for child in parent.children()}
        if nn.BatchNorm2d in kinds and not kinds.isdisjoint(ACTIVATIONS):
            pairs |= _pairs_of(parent)
    return pairs


class _Children(fx.Tracer):
    """Follows a module's code, not that of its children."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        """Every child is."""
        return True


def _pairs_of(parent: nn.Module) -> dict[nn.BatchNorm2d, nn.Module]:
    """The pairs among a module's children; none where its code cannot be followed."""
    was_training, parent.training = parent.training, True
    try:
        nodes = _Children().trace(parent).nodes
    except Exception:  # foreign code: it may depend on values, take other arguments, or anything else
        return {}
    finally:
        parent.training = was_training
    calls = [parent.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"]
    pairs = {}
    for node in nodes:
        users = list(node.users)
        if node.op != "call_module" or len(users) != 1 or users[0].op != "call_module":
            continue
        norm = parent.get_submodule(str(node.target))
        activation = parent.get_submodule(str(users[0].target))
        # A normalisation that runs twice may have another reader the second time.
        if type(norm) is nn.BatchNorm2d and type(activation) in ACTIVATIONS and calls.count(norm) == 1:
            pairs[norm] = activation
    return pairs


def _normalise(norm: nn.BatchNorm2d, activation: nn.Module, x: Tensor) -> Tensor:
    is_watched = norm._forward_hooks or norm._backward_hooks or activation._forward_pre_hooks
    if is_watched or not _suits(norm, x):
        return type(norm).forward(norm, x)
    y, statistics = BatchNormActivation.apply(
        x, norm.weight, norm.bias, norm.eps, ACTIVATIONS[type(activation)]
    )
    if norm.track_running_stats:
        count = x.numel() // x.shape[1]
        track(norm, statistics[0], statistics[1] * (count / (count - 1)))
    y.activated_by = activation  # which the activation looks for: it is computed already
    return cast(Tensor, y)


def _activate(activation: nn.Module, x: Tensor) -> Tensor:
    if getattr(x, "activated_by", None) is activation:
        del x.activated_by  # type: ignore[attr-defined]  # a second activation of the same map is computed
        return x
    return cast(Tensor, type(activation).forward(activation, x))


def _suits(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    return (
        norm.training
        and norm.weight is not None
        and x.device.type == "cpu"
        and x.dtype == norm.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.dim() == 4
        and x.shape[1] >= FEWEST_CHANNELS
        and x.numel() >= max(FEWEST_VALUES, x.shape[1] + 1)
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class BatchNormActivation(torch.autograd.Function):
    """An activation of a batch normalisation by the statistics of the batch.

    x: [B, C, H, W] float32, channels last; weight, bias: [C]; activation: its number in batch_norm_jit.
    Returns y like x and the statistics [5, C], whose first rows are the mean and the biased variance.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, activation: int
    ) -> tuple[Tensor, Tensor]:
        """Two passes over x: the sums, then y."""
        jit = _jit()
        channels = x.shape[1]
        sizes = jit.sizes_of(x.numel() // channels, channels)
        y, statistics = torch.empty_like(x), x.new_empty(5, channels)
        weight, bias = weight.detach().contiguous(), bias.detach().contiguous()
        arrays = {jit.Y: y, jit.WEIGHT: weight, jit.BIAS: bias, jit.STATISTICS: statistics}
        _run(jit.loops_of(activation).forward, sizes, {jit.X: x, **arrays}, np.array([eps]))
        ctx.save_for_backward(x, statistics)
        ctx.activation = activation
        ctx.mark_non_differentiable(statistics)
        return y, statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        jit = _jit()
        x, statistics = ctx.saved_tensors
        channels = x.shape[1]
        sizes = jit.sizes_of(x.numel() // channels, channels)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        dx, gradients = torch.empty_like(x), x.new_empty(4, channels)
        arrays = {jit.Y: gradient, jit.DX: dx, jit.STATISTICS: statistics, jit.GRADIENTS: gradients}
        _run(jit.loops_of(ctx.activation).backward, sizes, {jit.X: x, **arrays}, np.zeros(1))
        return dx, gradients[jit.OF_WEIGHT], gradients[jit.OF_BIAS], None, None


def _run(loops: Any, sizes: np.ndarray, arrays: dict[int, Tensor], eps: np.ndarray) -> None:
    """Run a pass's loops with these arrays, each by its number among the addresses."""
    jit = _jit()
    sums = torch.empty(int(sizes[3]), 2, int(sizes[1]))
    counters = np.zeros(2, np.int64)
    addresses = np.zeros(12, np.uint64)
    for number, array in {**arrays, jit.SUMS: sums}.items():
        addresses[number] = array.data_ptr()
    addresses[[jit.SIZES, jit.EPS]] = sizes.ctypes.data, eps.ctypes.data
    addresses[[jit.SUMMED, jit.APPLIED]] = counters.ctypes.data, counters.ctypes.data + counters.itemsize
    loops(addresses.ctypes.data)
