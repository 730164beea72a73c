"""Splitting images: seeded, stratified by class, with pixel-identical images in one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from calkd_edge.records import IntArray


def quotas(available: IntArray, total: int, *, least: int = 0, reserve: int = 0) -> IntArray:
    """Number of images to take from each class, [C], for `total` images in the proportions of the classes.

    Largest-remainder method, in integers; for equal remainders the earlier class comes first.

    Args:
        available: [C], number of images of each class.
        total: number of images to take.
        least: minimum to take from each class, as far as it has them.
        reserve: minimum to leave in each class.

    Raises:
        ValueError: `total` is too large for the reserve, or too small for the minimum.
    """
    room = np.maximum(available - reserve, 0)
    floor = np.minimum(least, room)
    if not floor.sum() <= total <= room.sum():
        raise ValueError(f"{total} images cannot be taken: {floor.sum()} to {room.sum()} are possible")
    scaled = total * available.astype(np.int64)
    everything = max(int(available.sum()), 1)
    taken = np.clip(scaled // everything, floor, room)
    while (missing := total - int(taken.sum())) != 0:
        step = 1 if missing > 0 else -1
        owed = step * (scaled - taken * everything)
        free = taken < room if missing > 0 else taken > floor
        order = np.argsort(-owed, kind="stable")
        taken[order[free[order]][: abs(missing)]] += step
    return taken


def take(
    pool: IntArray,
    labels: IntArray,
    total: int,
    generator: np.random.Generator,
    *,
    least: int = 0,
    reserve: int = 0,
) -> tuple[IntArray, IntArray]:
    """A random, stratified part of `pool` and its rest, both ascending.

    Args:
        pool: positions to take from.
        labels: labels of all positions.
        total: number of images to take.
        generator: of random numbers.
        least: minimum to take from each class, as far as it has them.
        reserve: minimum to leave in each class.

    Raises:
        ValueError: see `quotas`.
    """
    of_pool = labels[pool]
    counts = quotas(np.bincount(of_pool), total, least=least, reserve=reserve)
    picked = [
        generator.permutation(pool[of_pool == label])[:count]
        for label, count in enumerate(counts.tolist())
        if count
    ]
    taken = np.sort(np.concatenate(picked)) if picked else pool[:0]
    return taken, np.setdiff1d(pool, taken, assume_unique=True)


def identical(digests: Mapping[int, bytes]) -> list[list[int]]:
    """Groups of two or more rows with the same pixels, ascending; `digests` maps rows to digests."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row in sorted(digests):
        rows_of[digests[row]].append(row)
    return sorted(rows for rows in rows_of.values() if len(rows) > 1)


def keep_together(
    sides: Mapping[str, IntArray],
    groups: Sequence[Sequence[int]],
    labels: IntArray,
    generator: np.random.Generator,
) -> tuple[dict[str, IntArray], int]:
    """The sides after moving every group that was on two sides to "train", and the number of moved groups.

    A side that loses an image gets another image of the same class from train that has no duplicate, as far
    as there are any, so that sizes and class proportions stay as requested.

    Args:
        sides: disjoint rows of each side; one side is "train".
        groups: rows with the same pixels; rows on no side are ignored.
        labels: label of every row.
        generator: selects the replacements.
    """
    side_of = {int(row): name for name, rows in sides.items() for row in rows}
    grouped = {row for group in groups for row in group}
    lost: list[tuple[str, int]] = []
    moved = 0
    for group in groups:
        present = [row for row in group if row in side_of]
        if len({side_of[row] for row in present}) > 1:
            moved += 1
            for row in present:
                if side_of[row] != "train":
                    lost.append((side_of[row], int(labels[row])))
                    side_of[row] = "train"
    alone: dict[int, list[int]] = defaultdict(list)
    if lost:
        for row in generator.permutation(sides["train"]).tolist():
            if row not in grouped:
                alone[int(labels[row])].append(row)
    for side, label in lost:
        if len(alone[label]) > 1:  # the last of a class stays in train
            side_of[alone[label].pop()] = side
    kept = {name: [row for row, side in side_of.items() if side == name] for name in sides}
    return {name: np.array(sorted(rows), dtype=np.int64) for name, rows in kept.items()}, moved
