"""Mean NLL of scaled logits and its derivatives in the scale, over many rows.

In scope: one pass over the rows at one inverse temperature; memory-mapped logits. Out of scope: the search
for the best one; everything but numpy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np

from calkd_edge.metrics import per_image as scores

Optimum = Literal["ok", "separable", "anti", "flat"]
"""Whether the NLL has a smallest value at some inverse temperature, and why not."""

_CHUNK_ELEMENTS = 1 << 18
"""Of the rows whose terms are summed together; another number changes the last digits of sums."""

_PART_ELEMENTS = 1 << 15
"""Of the rows that are computed together: with their copies they stay in a core's cache."""

_THREADS_FROM_ELEMENTS = 1 << 23


class Slope(NamedTuple):
    """Mean NLL at one beta, its first two derivatives in beta, and the mean squared per-row slope."""

    nll: float
    first: float
    second: float
    squared: float


class Rows:
    """All rows of a problem, read in chunks, by several threads where there are many rows.

    Sums of chunks are added in their order, so that the number of threads changes nothing.

    Args:
        values: [N, C] float16, float32 or float64; float16 is computed in float32 and summed in float64.
        answers: [N], checked labels.

    Attributes:
        count: of rows.
        passes: number of times that all rows were read.
    """

    def __init__(self, values: scores.FloatingArray, answers: scores.Ints) -> None:
        self._values, self._answers = values, answers
        self._images: scores.Ints | None = None
        self._type = np.float32 if values.dtype == np.float16 else np.float64
        self._kept: dict[float, scores.Floats] = {}
        self.count = len(values)
        self.passes = 0

    def some(self, images: scores.Ints) -> Rows:
        """A problem of some of the rows, in this order; they are not copied, and kept terms are used."""
        result = Rows(self._values, self._answers)
        result._images, result._kept, result.count = images, self._kept, len(images)
        return result

    @property
    def elements(self) -> int:
        """The number of logits."""
        return int(self.count * self._values.shape[1])

    def keep(self, beta: float) -> None:
        """Keep the terms of each row at one beta, 7 x [N] float64: a later pass at it reads no logits."""
        if beta not in self._kept:
            self._kept[beta] = np.concatenate(list(self._each(lambda rows: self._terms(rows, beta))), axis=1)

    def first_pass(self) -> tuple[Slope, Optimum]:
        """The slope at beta = 1, and whether there is an optimum."""
        sums = np.zeros(7)
        for part in self._each(lambda rows: _summed(self._terms(rows, 1.0))):
            sums += part
        varied, wrong, slope_at_zero = sums[4:].tolist()
        optimum: Optimum = "ok"
        if not varied:
            optimum = "flat"
        elif not wrong:
            optimum = "separable"
        elif slope_at_zero >= 0.0:
            optimum = "anti"
        return Slope(*(sums[:4] / self.count).tolist()), optimum

    def slope(self, beta: float) -> Slope:
        """Mean NLL and its derivatives at one beta; `first_pass` has checked the logits."""
        sums = np.zeros(4)
        for part in self._each(lambda rows: _summed(self._terms(rows, beta, facts=False))):
            sums += part
        return Slope(*(sums / self.count).tolist())

    def _each(self, work: Callable[[slice], scores.Floats]) -> Iterator[scores.Floats]:
        step = max(1, _CHUNK_ELEMENTS // self._values.shape[1])
        chunks = [slice(start, min(start + step, self.count)) for start in range(0, self.count, step)]
        self.passes += 1
        if self.elements < _THREADS_FROM_ELEMENTS:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), 8)) as pool:
            yield from pool.map(work, chunks)

    def _chosen(self, rows: slice) -> slice | scores.Ints:
        return rows if self._images is None else self._images[rows]

    def _terms(self, rows: slice, beta: float, *, facts: bool = True) -> scores.Floats:
        """Of each row of a chunk: NLL, slope, curvature, squared slope, and `_facts` if they are wanted."""
        number = 7 if facts else 4
        if beta in self._kept:
            return self._kept[beta][:number, self._chosen(rows)]
        terms = np.empty((number, rows.stop - rows.start))
        for start in range(rows.start, rows.stop, self._step):
            part = slice(start, min(start + self._step, rows.stop))
            inside = slice(part.start - rows.start, part.stop - rows.start)
            z, label_logit = self._shifted(part)
            if facts:
                terms[4:, inside] = self._facts(z, label_logit, rows)
            terms[:4, inside] = self._nll_terms(z, label_logit, beta)
        return terms

    @property
    def _step(self) -> int:
        return max(1, _PART_ELEMENTS // int(self._values.shape[1]))

    def _shifted(self, rows: slice) -> tuple[scores.FloatingArray, scores.FloatingArray]:
        """Logits minus the largest of their row, and the label's logit of that."""
        values, answers = self._values[self._chosen(rows)], self._answers[self._chosen(rows)]
        with np.errstate(invalid="ignore"):
            z = np.subtract(values, values.max(axis=1, keepdims=True), dtype=self._type)
        return z, z[np.arange(len(z)), answers]

    def _facts(
        self, z: scores.FloatingArray, label_logit: scores.FloatingArray, chunk: slice
    ) -> tuple[scores.FloatingArray | scores.Bools, ...]:
        """Of each row: whether its logits differ, whether it is wrong, and its slope at beta = 0.

        Raises:
            ValueError: see `scores.check_values`.
        """
        with np.errstate(invalid="ignore"):
            sums, count = z.sum(axis=1, dtype=np.float64), np.full(len(z), z.shape[1])
        if not math.isfinite(float(sums.sum())):
            chosen = self._chosen(chunk)
            scores.check_values(self._values[chosen], self._answers[chosen], first_row=chunk.start)
            finite = np.isfinite(z)
            z = np.where(finite, z, self._type(0))
            sums, count = z.sum(axis=1, dtype=np.float64), finite.sum(axis=1)
        return np.asarray(z.any(axis=1)), label_logit != 0.0, sums / count - label_logit

    def _nll_terms(
        self, z: scores.FloatingArray, label_logit: scores.FloatingArray, beta: float
    ) -> tuple[scores.Floats, ...]:
        """NLL, slope, curvature and squared slope of each row."""
        p = z * self._type(beta)
        np.exp(p, out=p)
        total = p.sum(axis=1, dtype=np.float64)
        if not z.min() > -np.inf:
            z = np.where(np.isfinite(z), z, self._type(0))  # p is 0 there: 0 * -inf would be NaN
        p *= z
        mean = p.sum(axis=1, dtype=np.float64) / total
        second = np.einsum("nc,nc->n", p, z).astype(np.float64) / total
        slope = mean - label_logit
        nll = np.log(total) - beta * label_logit.astype(np.float64)
        return nll, slope, second - mean * mean, slope * slope


def _summed(terms: scores.Floats) -> scores.Floats:
    return np.array([term.sum() for term in terms])
