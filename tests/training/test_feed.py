"""The feed: batches in their order, made by a thread that ends; augmented where they are moved to."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from calkd_edge.data import AUGMENTATIONS
from calkd_edge.stages.epochs import Epochs, is_exact, replayed_on
from calkd_edge.training.feed import AHEAD, ahead, fed


class Prepared:
    """The part of a prepared folder that batches need."""

    def __init__(self, count=70, side=12):
        self.images = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
        self.labels = np.arange(count)


def epochs_of(name: str) -> Epochs:
    augmentation = AUGMENTATIONS.load(name)((3, 12, 12))
    return Epochs(Prepared(), np.arange(70), 16, 17, augmentation)


def feeds() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_batches_that_are_augmented_where_they_move_to_are_the_same(name):
    plain = epochs_of(name)
    deferred = replace(plain, defers=True)
    cpu, pairs = torch.device("cpu"), zip(plain.fresh(1, 0, 1), deferred.fresh(1, 0, 1), strict=True)
    for first, second in pairs:
        assert (second.replay is not None) == is_exact(plain.augmentation)
        moved = second.to(cpu)
        assert moved.replay is moved.view is None
        assert torch.equal(moved.images, first.images)
        assert torch.equal(moved.indices, first.indices)
        assert first.to(cpu).images is first.images


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_teacher_sees_the_same_pixels(name):
    augmentation = AUGMENTATIONS.load(name)((3, 12, 12))
    images = torch.from_numpy(Prepared().images)
    view = augmentation.draw(len(images), np.random.default_rng(2))
    moved = replayed_on(torch.device("cpu"), augmentation, images, view)
    assert torch.equal(moved, augmentation.replay(images, view))


def test_exact_augmentations_use_no_floating_point():
    """What `is_exact` says is read from the operations themselves."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Types(TorchDispatchMode):
        floats = 0

        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            result = function(*arguments, **(named or {}))
            self.floats += isinstance(result, torch.Tensor) and result.is_floating_point()
            return result

    for name in AUGMENTATIONS.names():
        augmentation = AUGMENTATIONS.load(name)((3, 12, 12))
        view = augmentation.draw(70, np.random.default_rng(3))
        with Types() as types:
            augmentation.replay(torch.from_numpy(Prepared().images), view)
        assert (types.floats == 0) == is_exact(augmentation), name


def test_items_come_in_order_and_no_more_than_a_few_in_advance():
    begun = []

    def prepare(item):
        begun.append(item)
        return item * 10

    taken = ahead(range(50), prepare)
    assert next(taken) == 0
    time.sleep(0.3)
    assert len(begun) <= 1 + AHEAD + 1
    assert list(taken) == [item * 10 for item in range(1, 50)]
    assert feeds() == []


@pytest.mark.parametrize("source", ["items", "prepare"])
def test_an_error_is_raised_where_its_item_would_have_come(source):
    def items():
        yield from range(3)
        if source == "items":
            raise KeyError("no fourth item")
        yield from range(3, 6)

    def prepare(item):
        if item == 3:
            raise KeyError("no fourth result")
        return item

    taken = ahead(items(), prepare)
    assert [next(taken) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="no fourth"):
        next(taken)
    assert feeds() == []


def test_the_thread_ends_with_whoever_takes_its_items():
    taken = ahead(iter(int, 1), lambda item: item)  # without an end
    assert next(taken) == 0
    assert len(feeds()) == 1
    taken.close()
    assert feeds() == []


def test_on_a_cpu_there_is_no_thread():
    batches = list(epochs_of("crop_pad").fresh(0, 0, 1))
    taken = fed(batches, torch.device("cpu"))
    assert torch.equal(next(taken).images, batches[0].images)
    assert feeds() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["crop_pad", "resized_crop"])
def test_a_gpu_gets_the_batches_of_the_cpu(name):
    plain = epochs_of(name)
    deferred = replace(plain, defers=True)
    taken = fed(deferred.fresh(1, 0, 1), torch.device("cuda", 0))
    for first, second in zip(plain.fresh(1, 0, 1), taken, strict=True):
        assert torch.equal(second.images.cpu(), first.images)
        assert torch.equal(second.labels.cpu(), first.labels)
    assert feeds() == []
