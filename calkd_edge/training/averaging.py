"""An exponential moving average of a model's weights, which ships instead of the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's floating-point parameters and buffers over the training steps.

    The decay of step t is min(decay, (1 + t) / (10 + t)), so that the random initial weights soon lose their
    influence. Buffers (the running statistics of batch normalisation) are averaged like weights; integers,
    such as counters, are copied.

    Args:
        model: its weights are averaged; it must not be rebuilt afterwards.
        decay: weight of the old average in each step, in 0..1.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992; the warm-up of the decay is that of Tan
    and Le, "EfficientNet", ICML 2019, in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        is_float = {name: tensor.is_floating_point() for name, tensor in self.average.items()}
        self._floats, self._integers = (
            _Pairs(model, {name: self.average[name] for name in is_float if is_float[name] is kind})
            for kind in (True, False)
        )

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's current weights to the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        if self._floats.averages:
            torch._foreach_lerp_(self._floats.averages, self._floats.current(), 1 - decay)
        if self._integers.averages:
            torch._foreach_copy_(self._integers.averages, self._integers.current())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block, the model's weights are the average."""
        current = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(current)

    def state(self) -> dict[str, object]:
        """The step count and the average, for a checkpoint."""
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from a checkpoint's `state`."""
        steps, average = state["steps"], state["average"]
        if not isinstance(steps, int) or not isinstance(average, dict):
            raise TypeError("not the state of a WeightAverage")
        self.steps = steps
        saved: dict[str, Tensor] = average
        for name, tensor in saved.items():
            self.average[name].copy_(tensor)


class _Pairs:
    """Averages, and where the model has the tensors that they are of.

    Args:
        model: whose state these are.
        averages: by name in its state.
    """

    def __init__(self, model: nn.Module, averages: Mapping[str, Tensor]) -> None:
        self.averages = list(averages.values())
        self._locations = [_location(model, name) for name in averages]

    def current(self) -> list[Tensor]:
        """The model's tensors, read again, because a module may replace a buffer."""
        return [holder[name] for holder, name in self._locations]  # type: ignore[misc]  # none of them is None


def _location(model: nn.Module, path: str) -> tuple[Mapping[str, Tensor | None], str]:
    """The dictionary that has a tensor of the model's state, and its name there."""
    parent, _, name = path.rpartition(".")
    module = model.get_submodule(parent)
    holder: Mapping[str, Tensor | None] = module._parameters
    return (holder if name in holder else module._buffers), name
