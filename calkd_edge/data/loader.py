"""The order of images in a training: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from calkd_edge.records import IntArray

_EPOCH_ORDER, _CLASS_ORDER = 0x0E, 0xC0
"""Separate these random streams from others with the same seed."""


def epoch_order(count: int, *, seed: int, epoch: int) -> IntArray:
    """A permutation of 0..count-1, int64; equal arguments give the same order on every machine.

    Args:
        count: number of training images.
        seed: of the recipe, 0 or more.
        epoch: from 0.
    """
    return _generator(seed, epoch, _EPOCH_ORDER).permutation(count).astype(np.int64)


def balanced(order: IntArray, labels: IntArray, *, seed: int, epoch: int) -> IntArray:
    """As many positions as in `order`, in rounds that show each class once, in an order of their own.

    The images of a class come in the order's order, over and over; a frequent class takes part with its first
    ones, which differ from epoch to epoch. The last round may lack classes. Equal arguments give the same
    positions on every machine.

    Args:
        order: [N] a permutation of the images.
        labels: [N] int64 by image.
        seed: of the recipe, 0 or more.
        epoch: from 0.

    Source: class-aware sampling of Shen, Lin and Huang, ECCV 2016 (arXiv 1512.05830).
    """
    by_class = [order[labels[order] == label] for label in np.unique(labels)]
    each = -(-len(order) // len(by_class))
    rounds = np.stack([np.resize(images, each) for images in by_class], axis=1)
    return _generator(seed, epoch, _CLASS_ORDER).permuted(rounds, axis=1).reshape(-1)[: len(order)]


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, purpose])))


def batches(order: IntArray, size: int) -> Iterator[IntArray]:
    """Consecutive pieces of `order`, each of `size`; the last may be smaller.

    A last piece of one image is omitted: batch normalisation cannot train on a single value per channel.

    Args:
        order: [N] positions from `epoch_order`; the pieces are views of it.
        size: images per batch, 1 or more. With 1, every image is a batch.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a batch needs at least one image, not {size}")
    for start in range(0, len(order), size):
        piece = order[start : start + size]
        if len(piece) > 1 or size == 1:
            yield piece
