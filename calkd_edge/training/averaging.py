"""An exponential moving average of a model's weights, which then ships in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's floating-point parameters and buffers over the steps of a training.

    The decay of step t is min(decay, (1 + t) / (10 + t)), so that the first, random weights are forgotten
    soon. Buffers (the running statistics of batch normalisation) are averaged as the weights are; integers,
    such as counters, are taken as they stand.

    Args:
        model: averaged; it must not be rebuilt afterwards.
        decay: weight of the old average at each step, in 0..1.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992; the warm-up of the decay is that of Tan
    and Le, "EfficientNet", ICML 2019, in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights in."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        present = self.model.state_dict()
        floats = [name for name, tensor in present.items() if tensor.is_floating_point()]
        averages = [self.average[name] for name in floats]
        torch._foreach_lerp_(averages, [present[name] for name in floats], 1 - decay)
        for name, tensor in present.items():
            if not tensor.is_floating_point():
                self.average[name].copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block, the model holds the average."""
        present = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(present)

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from a checkpoint's `state`."""
        steps, average = state["steps"], state["average"]
        if not isinstance(steps, int) or not isinstance(average, dict):
            raise TypeError("not the state of a WeightAverage")
        self.steps = steps
        kept: dict[str, Tensor] = average
        for name, tensor in kept.items():
            self.average[name].copy_(tensor)
