"""WeightAverage: the recursion by hand, in and out of the model, and through a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from calkd_edge.training.averaging import WeightAverage


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def walked(model, average, steps):
    """The weights after each step."""
    trail = []
    for step in range(steps):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(step + 1.0)
        model(torch.full((4, 3), float(step)) + torch.arange(4.0)[:, None])
        average.update()
        trail.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return trail


def test_average_follows_the_recursion():
    model = net()
    average = WeightAverage(model, 0.5)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step, present in enumerate(walked(model, average, 12)):
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in present.items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = tensor
    for name, tensor in expected.items():
        torch.testing.assert_close(average.average[name], tensor)


def test_model_has_the_average_only_inside_the_block():
    model = net()
    average = WeightAverage(model, 0.9)
    last = walked(model, average, 3)[-1]
    with average.applied():
        assert torch.equal(model.state_dict()["0.weight"], average.average["0.weight"])
        assert not torch.equal(model.state_dict()["0.weight"], last["0.weight"])
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ZeroDivisionError), average.applied():
        1 / 0  # noqa: B018
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.state_dict().items())


def test_restored_average_continues_as_the_original():
    model, twin = net(), net()
    complete, half = WeightAverage(model, 0.9), WeightAverage(twin, 0.9)
    walked(model, complete, 4)
    walked(twin, half, 4)
    kept = half.state()
    fresh = WeightAverage(twin, 0.9)
    fresh.restore(kept)
    walked(model, complete, 2)
    walked(twin, fresh, 2)
    assert all(torch.equal(complete.average[name], fresh.average[name]) for name in complete.average)
    with pytest.raises(TypeError):
        fresh.restore({"steps": "4", "average": {}})
