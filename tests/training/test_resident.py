"""Resident training data: the choice, its size, and batches that equal those of the streaming feed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calkd_edge.data import AUGMENTATIONS
from calkd_edge.data.mixing import Mixup
from calkd_edge.records import Affine
from calkd_edge.stages import epochs as epochs_module
from calkd_edge.stages.distillation import SoftLabels
from calkd_edge.stages.epochs import Epochs, is_exact, with_resident_images
from calkd_edge.training.affine import TensorAffine
from calkd_edge.training.resident import ResidentImages, ResidentLogits, is_resident, resident_bytes

COUNT, SIDE, CLASSES, VIEWS = 70, 12, 5, 3
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
EXACT = [name for name in AUGMENTATIONS.names() if is_exact(AUGMENTATIONS.load(name)((3, SIDE, SIDE)))]
AFFINES = {
    "temperature": Affine(scale=(0.37,)),
    "vector": Affine(scale=(0.3, 1.7, 0.9, 1.1, 2.3), bias=(0.1, -0.7, 0.0, 0.3, 0.9)),
    "matrix": Affine(scale=tuple(np.linspace(-1, 2, 25)), bias=(0.0,) * 5),
}


class Prepared:
    """The part of a prepared folder that batches need."""

    image_shape = (3, SIDE, SIDE)

    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 256, (90, 3, SIDE, SIDE), dtype=np.uint8)
        self.labels = np.arange(90) % CLASSES


def epochs_of(name: str = "crop_pad", **more) -> Epochs:
    rows = np.random.default_rng(1).permutation(90)[:COUNT]
    return Epochs(Prepared(), rows, 16, 17, AUGMENTATIONS.load(name)((3, SIDE, SIDE)), defers=True, **more)


def resident(epochs: Epochs) -> Epochs:
    return replace(epochs, resident=ResidentImages(epochs.prepared, epochs.rows, CPU))


def stored(epochs: Epochs, affine: str = "vector") -> SoftLabels:
    generator = np.random.default_rng(5)
    drawn = [epochs.augmentation.draw(COUNT, generator) for _ in range(VIEWS)]
    views = {name: np.stack([view[name] for view in drawn]) for name in epochs.augmentation.columns}
    logits = generator.normal(0, 6, (VIEWS, COUNT, CLASSES)).astype(np.float16)
    maxima = generator.normal(0, 9, (VIEWS, COUNT)).astype(np.float32)
    return SoftLabels(logits, maxima, views, TensorAffine(AFFINES[affine]))


def check_equal(streamed, on_device):
    """The same tensors and numbers, finished on the device; returns how many tensors that are."""
    count = 0
    for first, second in zip(streamed, on_device, strict=True):
        first, second = first.to(CPU), second.to(CPU)
        assert second.epoch == first.epoch
        assert second.replay is second.view is None
        pairs = list(zip(first.tensors(), second.tensors(), strict=True))
        assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
        count += len(pairs)
    return count


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("world", [1, 2])
def test_fresh_views_have_the_draws_and_pixels_of_the_streaming_feed(name, world):
    plain = epochs_of(name, is_balanced=world == 2)
    for epoch in (0, 3):
        for rank in range(world):
            streamed = plain.fresh(epoch, rank, world)
            near = resident(plain).fresh(epoch, rank, world)
            assert check_equal(streamed, near) == 3 * plain.steps(world) >= 3 * 4


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("affine", ["temperature", "vector"])
def test_stored_views_have_the_labels_of_the_streaming_feed(name, affine):
    plain = epochs_of(name)
    labels = stored(plain, affine)
    near = replace(labels, resident=ResidentLogits(COUNT, CLASSES, CPU))
    for epoch in range(VIEWS + 1):  # the fourth reads the first view again, in the memory of the third
        streamed = labels.batches(plain, epoch, 0, 1)
        assert check_equal(streamed, near.batches(resident(plain), epoch, 0, 1)) == 4 * plain.steps(1)


@pytest.mark.parametrize(
    ("device", "exact", "needed", "free", "expected"),
    [
        (CUDA, True, 100, 400, True),
        (CUDA, True, 101, 400, False),
        (CUDA, False, 1, 400, False),
        (CPU, True, 1, 400, False),
    ],
)
def test_data_are_resident_on_a_gpu_up_to_a_quarter_of_its_free_memory(device, exact, needed, free, expected):
    assert is_resident(device, is_exact=exact, needed_bytes=needed, free_bytes=free) is expected


def test_the_needed_memory_is_that_of_the_tensors():
    near, logits = resident(epochs_of()).resident, ResidentLogits(COUNT, CLASSES, CPU)
    images = near.images.nbytes + near.labels.nbytes
    assert resident_bytes(COUNT, (3, SIDE, SIDE), 0) == images
    assert epochs_of().needed_bytes(CLASSES) == images + logits.centred.nbytes + logits.maxima.nbytes


def test_what_a_gpu_could_compute_otherwise_streams_whatever_its_memory(monkeypatch):
    monkeypatch.setattr(epochs_module, "free_bytes", lambda accelerator: 2**60)
    mixed = epochs_of(mixing=Mixup())
    inexact = [epochs_of(name) for name in AUGMENTATIONS.names() if name not in EXACT]
    for epochs in (mixed, *inexact, replace(epochs_of(), defers=False)):
        assert with_resident_images(epochs, CUDA) is epochs
    plain = epochs_of()
    batches = stored(plain, "matrix").batches_on(CUDA, plain)
    assert next(batches(0, 0, 1)).replay is not None
    assert with_resident_images(plain, CPU) is plain


def test_data_that_do_not_fit_stream(monkeypatch):
    plain = epochs_of()
    least = 4 * plain.needed_bytes(CLASSES)
    monkeypatch.setattr(epochs_module, "free_bytes", lambda accelerator: least - 1)
    assert with_resident_images(plain, CUDA, classes=CLASSES) is plain
    batches = stored(plain).batches_on(CUDA, plain)
    assert check_equal(batches(1, 0, 1), stored(plain).batches(plain, 1, 0, 1)) == 4 * plain.steps(1)
