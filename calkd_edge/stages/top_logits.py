"""Rows of logits stored as their K largest, with mean and variance of the others: the tail.

In scope: what is stored of rows, and the complete rows that are read from it. Out of scope: files, views,
calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.records import AffineKind, FloatArray, IntArray

MOST_SHORT = 2**16
"""Classes that two bytes can number."""

NUMBERS_AT_A_TIME = 2**21
"""Logits that are sorted together: of many classes, a piece of the teacher's pass would take gigabytes."""

UNIT = 2.0**-16
"""Standard scores are summed as whole multiples of it: such sums are exact in any order."""


def class_type(classes: int) -> type[np.unsignedinteger]:
    """The smaller of two integers that number so many classes."""
    return np.uint16 if classes <= MOST_SHORT else np.uint32


def bytes_per_row(classes: int, top: int | None) -> int:
    """Bytes of a stored row of `classes` logits, of which the `top` largest are kept; None: all.

    A logit takes 2, its class 2 (4 from 65,537 classes on), the row's maximum 4, mean and variance of the
    tail 8.
    """
    if top is None:
        return 2 * classes + 4
    return (2 + np.dtype(class_type(classes)).itemsize) * top + 4 + 8


def check_top(top: int, classes: int, where: str) -> None:
    """Refuse to keep as many logits as there are classes.

    Raises:
        RecipeError: no class would be left for the tail.
    """
    if top >= classes:
        raise RecipeError(
            f"{where}: {top} logits of each row would be kept, but there are only {classes} classes",
            remedy=f"Remove it, which stores complete rows, or set it to {classes - 1} or less; it pays from "
            "500 classes on.",
        )


def check_kind(kind: AffineKind | None, where: str) -> None:
    """Refuse a map whose results each depend on all logits of a row; other kinds change each for itself.

    Raises:
        RecipeError: of a row's tail, only mean and variance are stored.
    """
    if kind == "matrix":
        raise RecipeError(
            f"{where}: it multiplies a row of logits by a matrix, and distill.soft_labels.top stores the "
            "largest of them alone",
            remedy="Use calibrator: {name: vector} or temperature, or remove distill.soft_labels.top.",
        )


@dataclass(frozen=True)
class TopRows:
    """Truncated rows.

    Attributes:
        logits: [N, K], the largest, in falling order.
        classes: [N, K], their classes.
        tail: [N, 2] float32, mean and variance of the other C - K logits.
        order_sums: [C] int64, the sum of each class's standard scores, in units of 2^-16.
        shape_sums: [C - K] int64, the sums of the tails' standard scores in rising order, likewise.
    """

    logits: FloatArray
    classes: np.ndarray
    tail: FloatArray
    order_sums: IntArray
    shape_sums: IntArray


def truncated(logits: FloatArray, top: int) -> TopRows:
    """The `top` largest logits of each row [N, C], and what is kept of the others.

    The standard score of a logit is its distance to the mean of its row's tail, in standard deviations of
    that tail; 0 where a tail has a single value.
    """
    step = max(1, NUMBERS_AT_A_TIME // logits.shape[1])
    parts = [_truncated(logits[at : at + step], top) for at in range(0, len(logits), step)]
    rows = [np.concatenate(each) for each in zip(*[part[:3] for part in parts], strict=True)]
    sums = [np.sum(each, axis=0) for each in zip(*[part[3:] for part in parts], strict=True)]
    return TopRows(*rows, *sums)


def _truncated(logits: FloatArray, top: int) -> tuple[np.ndarray, ...]:
    chosen = np.argpartition(-logits, top - 1, axis=1)[:, :top]
    values = np.take_along_axis(logits, chosen, axis=1)
    falling = np.argsort(-values, axis=1, kind="stable")
    classes = np.take_along_axis(chosen, falling, axis=1).astype(class_type(logits.shape[1]))
    tail = np.sort(logits, axis=1)[:, : logits.shape[1] - top].astype(np.float64)
    mean, variance = tail.mean(axis=1, keepdims=True), tail.var(axis=1, keepdims=True)
    deviation = np.sqrt(np.where(variance > 0, variance, np.inf))
    scores, shapes = (_whole((each - mean) / deviation).sum(axis=0) for each in (logits, tail))
    moments = np.concatenate([mean, variance], axis=1).astype(np.float32)
    return np.take_along_axis(values, falling, axis=1), classes, moments, scores, shapes


def _whole(scores: FloatArray) -> IntArray:
    whole: IntArray = np.rint(scores / UNIT).astype(np.int64)
    return whole


@dataclass(frozen=True)
class TailForm:
    """What the tails of all rows have in common.

    Attributes:
        order: [C], the classes by their mean standard score, rising.
        shape: [C - K] float32, the mean standard scores of a tail in rising order: of mean 0, variance 1.
    """

    order: IntArray
    shape: FloatArray

    @classmethod
    def of(cls, pieces: Sequence[tuple[IntArray, IntArray]]) -> TailForm:
        """The form of the rows that were truncated piece by piece: (order_sums, shape_sums) of each.

        Neither the number of pieces nor their order changes it.
        """
        scores, rising = (np.sum(sums, axis=0) for sums in zip(*pieces, strict=True))
        shape = rising.astype(np.float64) - rising.mean()
        deviation = shape.std()
        if deviation > 0:
            shape /= deviation
        return cls(np.argsort(scores, kind="stable"), shape.astype(np.float32))

    def restored(self, logits: FloatArray, classes: np.ndarray, tail: FloatArray) -> FloatArray:
        """Complete rows, float32 [B, C], whose K largest logits are the stored ones.

        A tail gets the stored mean and variance and the common shape, so that its probability is about right
        at every temperature; its logits go to the classes in the common order, at most the K-th largest.

        Args:
            logits: [B, K], the largest, in falling order.
            classes: [B, K], their classes.
            tail: [B, 2], mean and variance of the others.
        """
        count, top = logits.shape
        largest = np.asarray(logits, dtype=np.float32)
        is_tail = np.ones((count, len(self.order)), dtype=bool)
        np.put_along_axis(is_tail, classes.astype(np.int64), False, axis=1)
        others = np.broadcast_to(self.order, is_tail.shape)[is_tail[:, self.order]].reshape(count, -1)
        values = tail[:, :1] + np.sqrt(tail[:, 1:]) * self.shape
        rows = np.empty(is_tail.shape, dtype=np.float32)
        np.put_along_axis(rows, others, np.minimum(values, largest[:, top - 1 :]), axis=1)
        np.put_along_axis(rows, classes.astype(np.int64), largest, axis=1)
        return rows


@dataclass(frozen=True)
class StoredTails:
    """What the stage soft_labels stores beside the largest logits.

    Attributes:
        classes: [V, N, K], the classes of the largest logits.
        tail: [V, N, 2], mean and variance of the others.
        form: of all tails.
    """

    classes: np.ndarray
    tail: FloatArray
    form: TailForm

    CLASSES: ClassVar[str] = "classes.npy"

    @classmethod
    def open(cls, folder: Path) -> StoredTails:
        """From the stage's folder; classes stay on disk until they are read."""
        classes = np.load(folder / cls.CLASSES, mmap_mode="r", allow_pickle=False)
        tail = np.load(folder / "tail.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "tail_form.npz", allow_pickle=False) as stored:
            return cls(classes, tail, TailForm(stored["order"], stored["shape"]))

    def restored(self, logits: FloatArray, view: int, chosen: IntArray) -> FloatArray:
        """Complete rows [B, C] of a view, from the largest logits [B, K] of the chosen images."""
        return self.form.restored(logits, self.classes[view, chosen], self.tail[view, chosen])
