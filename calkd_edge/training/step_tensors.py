"""Numbers that change from step to step, as tensors on the device: no step waits for them.

A Python number in an operation would be the same in every repetition of a recorded step, and reading one from
a GPU makes Python wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class StepNumbers:
    """The epoch and the share of a step, made once and filled in place.

    Attributes:
        epoch: 0-d float64, fractional.
        share: 0-d float64, weight of the first labels of mixed images, in 0..1.

    Args:
        device: that trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.epoch = torch.zeros((), dtype=torch.float64, device=device)
        self.share = torch.ones((), dtype=torch.float64, device=device)

    def fill(self, epoch: float, share: float) -> None:
        """The numbers of the next step; a GPU is not waited for."""
        self.epoch.fill_(epoch)
        self.share.fill_(share)


class LossSums:
    """The sum of each term over the steps of an epoch, made in the first step."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.totals: Tensor | None = None

    def clear(self) -> None:
        """Begin an epoch."""
        if self.totals is not None:
            self.totals.zero_()

    def add(self, terms: Mapping[str, Tensor], stacked: Tensor) -> None:
        """Add a step's terms, which are also given as a vector [terms]."""
        if self.totals is None:
            self.names, self.totals = tuple(terms), torch.zeros_like(stacked.detach())
        self.totals += stacked.detach()
