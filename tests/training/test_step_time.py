"""The time of a step that waits for its batches: by a clock that only the feed and the steps advance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from calkd_edge.recipe.training import Choice, OptimizerSection, TrainingSection
from calkd_edge.records import Component
from calkd_edge.stages.trial_batches import trial_batches
from calkd_edge.training import step_time
from calkd_edge.training.step_time import FED_TIMED_STEPS, FED_WARM_STEPS, seconds_per_fed_step

CPU, SHAPE = torch.device("cpu"), (3, 12, 12)
CROP = Component(name="crop_pad", settings={"padding": 2})


class Net(nn.Module):
    """A network that notes what it is given."""

    def __init__(self):
        super().__init__()
        self.layer, self.images, self.types = nn.Conv2d(3, 2, 3), [], set()

    def forward(self, images):
        self.images.append(images)
        result = self.layer(images.float())
        self.types.add(result.dtype)
        return result


def batches(augmentation=CROP, **settings):
    section = TrainingSection(epochs=1, images_per_step=8, optimizer=OptimizerSection(lr=0.1), **settings)
    return trial_batches(section, augmentation, SHAPE, 10**6, CPU)


def test_the_time_of_a_step_includes_that_of_its_batch(monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(step_time, "_now", lambda device: clock["now"])

    def slow(source):
        for number, batch in enumerate(source):
            clock["now"] += 7.0 if number < FED_WARM_STEPS else 0.25
            yield batch

    net = Net()
    assert seconds_per_fed_step(net, slow(batches()), CPU) == 0.25
    assert len(net.images) == FED_WARM_STEPS + FED_TIMED_STEPS
    assert net.types == {torch.float32}


def test_trial_images_are_augmented_and_differ_from_step_to_step():
    net = Net()
    seconds_per_fed_step(net, batches(), CPU, autocast="bf16")
    assert net.types == {torch.bfloat16}
    assert {(tuple(images.shape), images.dtype) for images in net.images} == {((8, *SHAPE), torch.uint8)}
    assert len({images.numpy().tobytes() for images in net.images}) == len(net.images)
    assert any((images[:, :, :2] == 0).all((1, 2, 3)).any() for images in net.images)  # borders of crop_pad


def test_mixing_is_part_of_a_trial():
    mixed = next(batches(mixing=Choice(name="mixup")))
    assert mixed.other_labels is not None
    assert len(np.unique(mixed.images)) > 2


def test_too_few_batches_are_refused():
    with pytest.raises(ValueError, match="batches are needed"):
        seconds_per_fed_step(Net(), [next(batches())], CPU)
