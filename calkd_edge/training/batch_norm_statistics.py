"""Batch normalisation's statistics, measured over training images in the final weights.

Running statistics follow the weights with a delay, which a network with a small momentum or few steps never
makes up for: it then answers with means and variances of weights that it no longer has. In scope: measuring
them once at the end of a training, over more than one source of images, and taking the best. Out of scope:
which images.

Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576, section 3 (the mean of all
batches' statistics instead of an exponential average).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def measurable(model: nn.Module, frozen: Sequence[nn.Module]) -> list[_BatchNorm]:
    """The batch normalisations of a network whose running statistics followed its weights.

    Args:
        model: the network.
        frozen: modules whose statistics were fixed in every epoch; those are a part of what was trained.
    """
    kept = {id(child) for module in frozen for child in module.modules()}
    return [
        child
        for child in model.modules()
        if isinstance(child, _BatchNorm) and child.running_var is not None and id(child) not in kept
    ]


RUNNING = "running"
Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of each normalisation."""


def choose_statistics(
    model: nn.Module,
    norms: Sequence[_BatchNorm],
    sources: Mapping[str, Callable[[], Iterable[Tensor]]],
    best: Callable[[Sequence[str], Callable[[str], None]], str],
) -> dict[str, float | str]:
    """Measure the statistics over each source and leave the best, or the running ones, in `norms`.

    Where images as they ship differ from those of training otherwise than by chance (a border of a shift,
    objects of another size), statistics of either can be the worse by points of top-1.

    Args:
        model: the network that contains them, in its final weights.
        norms: from `measurable`.
        sources: name -> batches of images, as `measure_statistics` takes them.
        best: (names, a function that sets a name's statistics) -> the best name.

    Returns:
        `from`, the best source; of that source, or of the last one where the running statistics were best,
        what `measure_statistics` returns.
    """
    running = _statistics(norms)
    candidates, figures = {}, {}
    for name, batches in sources.items():
        _put(norms, running)
        figures[name] = measure_statistics(model, norms, batches())
        candidates[name] = _statistics(norms)
    candidates[RUNNING] = running
    chosen = best(list(candidates), lambda name: _put(norms, candidates[name]))
    _put(norms, candidates[chosen])
    return {"from": chosen, **figures.get(chosen, figures[list(sources)[-1]])}


def _statistics(norms: Sequence[_BatchNorm]) -> Statistics:
    return [(_present(norm.running_mean).clone(), _present(norm.running_var).clone()) for norm in norms]


def _put(norms: Sequence[_BatchNorm], statistics: Statistics) -> None:
    for norm, (mean, variance) in zip(norms, statistics, strict=True):
        _present(norm.running_mean).copy_(mean)
        _present(norm.running_var).copy_(variance)


@torch.no_grad()
def measure_statistics(
    model: nn.Module, norms: Sequence[_BatchNorm], batches: Iterable[Tensor]
) -> dict[str, float]:
    """Set the running statistics of `norms` to the mean of those of every batch; dropout is off.

    Args:
        model: the network that contains them, in its final weights.
        norms: from `measurable`.
        batches: of images [B, 3, H, W] as the network takes them, on its device.

    Returns:
        `images`; `mean_shift`, the largest distance of a channel's old mean from the new one in new standard
        deviations, as the median over layers; `variance_ratio`, the median over all channels of the old
        variance divided by the new one. Without a lag these are about 0 and 1.
    """
    before = _statistics(norms)
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the mean over all batches
    images = 0
    for batch in batches:
        model(batch)
        images += len(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    shifts, ratios = [], []
    for norm, (mean, variance) in zip(norms, before, strict=True):
        now = _present(norm.running_var).clamp_min(norm.eps)
        shifts.append(((mean - _present(norm.running_mean)).abs() / now.sqrt()).max())
        ratios.append(variance.clamp_min(norm.eps) / now)
    return {
        "images": images,
        "mean_shift": float(torch.stack(shifts).median()),
        "variance_ratio": float(torch.cat(ratios).median()),
    }


def _present(tensor: Tensor | None) -> Tensor:
    assert tensor is not None  # `measurable` took only those
    return tensor
