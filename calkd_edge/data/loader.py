"""The order of images in a training: a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from calkd_edge.records import IntArray

_EPOCH_ORDER = 0x0E
"""Separates this random stream from others with the same seed."""


def epoch_order(count: int, *, seed: int, epoch: int) -> IntArray:
    """A permutation of 0..count-1, int64; equal arguments give the same order on every machine.

    Args:
        count: number of training images.
        seed: of the recipe, 0 or more.
        epoch: from 0.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, _EPOCH_ORDER])))
    return generator.permutation(count).astype(np.int64)


def balanced(order: IntArray, labels: IntArray) -> IntArray:
    """As many positions as in `order`, with each class equally often up to one, in a mixed order.

    The images of a class come in the order's order, over and over; a frequent class takes part with its first
    ones, which differ from epoch to epoch.

    Args:
        order: [N] a permutation of the images.
        labels: [N] int64 by image.
    """
    by_class = [order[labels[order] == label] for label in np.unique(labels)]
    each = -(-len(order) // len(by_class))
    turns = np.stack([np.resize(images, each) for images in by_class], axis=1)
    return turns.reshape(-1)[: len(order)]


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
