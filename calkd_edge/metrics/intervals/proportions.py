"""Bounds for shares of images, and for differences of shares on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from calkd_edge.metrics.intervals.beta import beta_quantile
from calkd_edge.metrics.intervals.bounds import LEVEL, Bounds, normal_quantile


def clopper_pearson(successes: int, trials: int, *, level: float = LEVEL) -> Bounds:
    """A proportion with exact bounds: each keeps its level at any number of trials.

    Raises:
        ValueError: no trials, or successes outside 0..trials.

    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413.
    """
    _check(successes, trials)
    k, n = successes, trials
    low = 0.0 if k == 0 else beta_quantile(k, n - k + 1, 1.0 - level)
    high = 1.0 if k == n else beta_quantile(k + 1, n - k, level)
    return Bounds(k / n, low, high)


def wilson(successes: int, trials: int, *, level: float = LEVEL) -> Bounds:
    """A proportion with Wilson's score bounds, for methods that are built on them.

    They miss their level by up to some per cent where nearly all trials succeed or fail.

    Raises:
        ValueError: no trials, or successes outside 0..trials.

    Source: Wilson, JASA 1927.
    """
    _check(successes, trials)
    z2 = normal_quantile(level) ** 2
    p = successes / trials
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Bounds(p, 0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half)


def _check(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is not a proportion")


def tango(only_first: int, only_second: int, images: int, *, level: float = LEVEL) -> Bounds:
    """The difference first - second of two proportions on the same images, with Tango's score bounds.

    Reaches its level where a bootstrap does not: without a disagreement the bounds are z^2/(n + z^2), not 0.

    Args:
        only_first: images where only the first succeeds.
        only_second: images where only the second succeeds.
        images: all images, n.
        level: one-sided level of each bound.

    Raises:
        ValueError: counts that do not fit.

    Source: Tango, Statistics in Medicine 17 (1998), 891-908.
    """
    if images < 1 or min(only_first, only_second) < 0 or only_first + only_second > images:
        raise ValueError(f"{only_first} + {only_second} disagreements on {images} images do not fit")
    b, c, n = only_first, only_second, images
    z = normal_quantile(level)

    def score(d: float) -> float:
        linear = -b - c + (2 * n - b + c) * d
        root = math.sqrt(max(linear * linear + 8 * n * c * d * (1 - d), 0.0))
        nuisance = (root - linear) / (4 * n)
        variance = n * (2 * nuisance + d * (1 - d))
        shortfall = b - c - n * d
        return shortfall / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, shortfall)

    value = (b - c) / n
    low = -1.0 if c == n else _bisect(lambda d: score(d) > z, -1.0, value)
    high = 1.0 if b == n else _bisect(lambda d: score(d) > -z, value, 1.0)
    return Bounds(value, low, high)


def _bisect(left_of_root: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if left_of_root(middle) else (low, middle)
    return 0.5 * (low + high)


def images_to_decide_zero_disagreements(limit: float, *, level: float = LEVEL) -> int:
    """Images on which two models that never disagree are certified to differ by less than `limit`.

    z^2 / limit rounded up, the planning rule (2.71 / limit at 95 %): 271 images for 1 point. It is on the
    safe side: Tango's bound without disagreement is z^2 / (n + z^2), below 1 point from 268 images on.
    """
    if not 0 < limit < 1:
        raise ValueError(f"the limit of a difference of proportions must lie in 0..1, got {limit}")
    return math.ceil(normal_quantile(level) ** 2 / limit)


def share_shift(
    taken: tuple[ArrayLike, ArrayLike], right: tuple[ArrayLike, ArrayLike], *, level: float = LEVEL
) -> Bounds | None:
    """Second - first precision among the images that each model accepts; None if one accepts none.

    The denominators differ, so Tango's interval does not apply; Wilson bounds of both are joined with the
    estimated correlation (MOVER), and widened to Tango's bounds without disagreement.

    Args:
        taken: two [N] bool arrays, whether the first and second model accept an image.
        right: two [N] bool arrays, whether they are right on it.
        level: one-sided level of each bound.

    Source: Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702.
    """
    accept = [np.asarray(mask, dtype=bool) for mask in taken]
    hits = [np.asarray(mask, dtype=bool) & kept for mask, kept in zip(right, accept, strict=True)]
    counts = [int(kept.sum()) for kept in accept]
    if min(counts) == 0:
        return None
    first, second = (wilson(int(hit.sum()), n, level=level) for hit, n in zip(hits, counts, strict=True))
    scores = [
        hit - kept * bounds.value for hit, kept, bounds in zip(hits, accept, (first, second), strict=True)
    ]
    norm = math.sqrt(float((scores[0] ** 2).sum() * (scores[1] ** 2).sum()))
    together = float((scores[0] * scores[1]).sum()) / norm if norm > 0 else 0.0

    def half(up: float, down: float) -> float:
        return math.sqrt(max(up * up + down * down - 2 * together * up * down, 0.0))

    difference = second.value - first.value
    least = normal_quantile(level) ** 2 / (min(counts) + normal_quantile(level) ** 2)
    low = difference - max(half(second.value - second.low, first.high - first.value), least)
    high = difference + max(half(second.high - second.value, first.value - first.low), least)
    return Bounds(difference, max(low, -1.0), min(high, 1.0))
