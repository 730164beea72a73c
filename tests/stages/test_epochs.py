"""Which images an epoch shows, and over which of them batch normalisation is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calkd_edge.data import AUGMENTATIONS
from calkd_edge.stages.epochs import Epochs


class Prepared:
    """90 images of which each holds its label in every pixel; the third class has a tenth of them."""

    image_shape = (3, 4, 4)

    def __init__(self):
        self.labels = np.repeat([0, 1, 2], [45, 36, 9])
        self.images = np.broadcast_to(self.labels[:, None, None, None], (90, 3, 4, 4)).astype(np.uint8)


@pytest.mark.parametrize("is_balanced", [False, True])
def test_batch_norm_is_measured_over_classes_as_they_are_drawn(is_balanced):
    """One that met classes in equal numbers loses several points of top-1 with statistics of unequal ones."""
    augmentation = AUGMENTATIONS.load("crop_pad")((3, 4, 4))
    epochs = Epochs(
        Prepared(), np.arange(90), 15, 17, augmentation, is_balanced=True, plain_is_balanced=is_balanced
    )
    images = torch.cat(list(epochs.plain_images(0, 1)))
    counts = torch.bincount(images[:, 0, 0, 0].long(), minlength=3).tolist()
    assert counts == ([30, 30, 30] if is_balanced else [45, 36, 9])


@pytest.mark.parametrize("is_balanced", [False, True])
def test_the_images_of_a_step_are_the_same_for_any_number_of_processes(is_balanced):
    augmentation = AUGMENTATIONS.load("crop_pad")((3, 4, 4))
    epochs = Epochs(Prepared(), np.arange(90), 18, 17, augmentation, is_balanced=is_balanced)
    alone = list(epochs.order(3, 0, 1))
    shares = zip(*(epochs.order(3, rank, 3) for rank in range(3)), strict=True)
    assert all((np.concatenate(parts) == step).all() for parts, step in zip(shares, alone, strict=True))
    assert [step.tolist() for step in epochs.order(3, 0, 1)] == [step.tolist() for step in alone], "resumed"
