"""Figures of each class: how many of its images are recognised, and how many answers naming it are right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics import intervals
from calkd_edge.metrics.inputs import Ints
from calkd_edge.metrics.intervals import LEVEL, Bounds


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, *, classes: int) -> Ints:
    """How often each class was answered for each label: [C, C] counts, labels in rows, answers in columns.

    Args:
        predicted: [N] integers below `classes`.
        labels: [N] integers below `classes`.
        classes: C.

    Raises:
        ValueError: different lengths, or a class outside 0..C-1.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    answers, truth = (np.asarray(values, dtype=np.int64) for values in (predicted, labels))
    if answers.shape != truth.shape or answers.ndim != 1:
        raise ValueError(f"answers {answers.shape} and labels {truth.shape} do not belong to the same images")
    both = np.concatenate([answers, truth])
    if both.size and not (both.min() >= 0 and both.max() < classes):
        raise ValueError(f"classes must lie in 0..{classes - 1}")
    return np.bincount(truth * classes + answers, minlength=classes**2).reshape(classes, classes)


def recalls(confusion: Ints, *, level: float = LEVEL) -> list[Bounds | None]:
    """Of the images of each class, the share that is recognised, with exact bounds; None without images.

    Args:
        confusion: [C, C], see `confusion_matrix`.
        level: one-sided level of each bound.
    """
    return _shares(confusion.diagonal(), confusion.sum(axis=1), level)


def precisions(confusion: Ints, *, level: float = LEVEL) -> list[Bounds | None]:
    """Of the answers that name each class, the share that is right, with exact bounds; None where none does.

    Args:
        confusion: [C, C], see `confusion_matrix`.
        level: one-sided level of each bound.
    """
    return _shares(confusion.diagonal(), confusion.sum(axis=0), level)


def _shares(right: Ints, all_: Ints, level: float) -> list[Bounds | None]:
    return [
        intervals.clopper_pearson(int(k), int(n), level=level) if n else None
        for k, n in zip(right, all_, strict=True)
    ]


def worst_recall(confusion: Ints, *, level: float = LEVEL) -> Bounds | None:
    """The lowest recall of any class that has images; None without images.

    Which class is the worst is not known beforehand, so the bounds of all classes hold together: each is made
    at 1 - (1 - level) / C (Bonferroni).

    Args:
        confusion: [C, C], see `confusion_matrix`.
        level: one-sided level of each bound.
    """
    counted = int((confusion.sum(axis=1) > 0).sum())
    if not counted:
        return None
    together = [one for one in recalls(confusion, level=1.0 - (1.0 - level) / counted) if one is not None]
    return Bounds(*(min(one[k] for one in together) for k in range(3)))


def balanced_accuracy(confusion: Ints, *, level: float = LEVEL) -> Bounds | None:
    """The mean of the recalls of all classes that have images, with bounds; None without images.

    The exact bounds of the recalls are joined by the method of variance estimates recovery (MOVER), which
    respects that a recall near 0 or 1 has a lopsided interval.

    Args:
        confusion: [C, C], see `confusion_matrix`.
        level: one-sided level of each bound.

    Source: Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702; Brodersen et al., "The balanced
    accuracy and its posterior distribution", ICPR 2010, for the figure.
    """
    known = [one for one in recalls(confusion, level=level) if one is not None]
    if not known:
        return None
    mean = math.fsum(one.value for one in known) / len(known)
    below, above = (
        math.sqrt(math.fsum(distance**2 for distance in distances)) / len(known)
        for distances in (_distances(known, "low"), _distances(known, "high"))
    )
    return Bounds(mean, max(mean - below, 0.0), min(mean + above, 1.0))


def _distances(known: Sequence[Bounds], side: str) -> list[float]:
    return [abs(getattr(one, side) - one.value) for one in known]
