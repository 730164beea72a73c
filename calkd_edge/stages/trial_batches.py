"""Batches of random images for a trial before a run, made as a training's are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from calkd_edge.data import AUGMENTATIONS, MIXINGS
from calkd_edge.data.prepared import Prepared
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.records import Component
from calkd_edge.stages.epochs import Epochs
from calkd_edge.training.batch import Batch
from calkd_edge.training.resident import ResidentImages, is_resident, resident_bytes
from calkd_edge.training.step_memory import free_bytes

STEPS_OF_IMAGES = 4
"""Steps until the same random images come again."""


def trial_batches(
    section: TrainingSection,
    augmentation: Component,
    image_shape: tuple[int, int, int],
    images: int,
    device: torch.device,
) -> Iterator[Batch]:
    """Batches without an end, gathered, augmented and mixed as those of a training on a GPU.

    Args:
        section: of the training.
        augmentation: of the recipe.
        image_shape: (3, H, W).
        images: of the train split, which decides whether they lie on the device.
        device: that trains.
    """
    generator = np.random.default_rng(0)
    rows = np.arange(STEPS_OF_IMAGES * section.images_per_step)
    pixels = generator.integers(0, 256, (len(rows), *image_shape), dtype=np.uint8)
    prepared = Prepared(Path(), pixels, np.zeros_like(rows), ("class",), {}, {})
    mixing = None if section.mixing is None else MIXINGS.load(section.mixing.name)(**section.mixing.settings)
    replayed = AUGMENTATIONS.load(augmentation.name)(image_shape, **augmentation.settings)
    epochs = Epochs(prepared, rows, section.images_per_step, 0, replayed, mixing, defers=True)
    needed = resident_bytes(images, image_shape, 0)
    free = free_bytes(device.type)
    if is_resident(device, is_exact=epochs.is_deferred, needed_bytes=needed, free_bytes=free):
        epochs = replace(epochs, resident=ResidentImages(prepared, rows, device))
    for epoch in count():
        yield from epochs.fresh(epoch, 0, 1)
