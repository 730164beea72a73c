"""The ratio of two medians, with an interval that includes differences between processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from calkd_edge.metrics.intervals import student_t
from calkd_edge.records import FloatArray, Ratio

BLOCKS, DRAWS = 20, 2000


def ratio(series: Sequence[FloatArray], other: Sequence[FloatArray], *, paired: bool) -> Ratio:
    """The median of `series` over that of `other`, with a 95 % interval.

    Each process' series is cut into blocks, its figure is the median of their medians; processes are averaged
    by their logarithms. The interval is the wider of two: the bootstrap over blocks, and Student's t over
    processes, because resampling so few processes covers too little.

    Args:
        series: one array in time order for each process, any positive unit.
        other: likewise.
        paired: whether the n-th processes of both ran one after the other, so that drift cancels.

    Raises:
        ValueError: a series is empty.
    """
    if not series or not other or not all(len(process) for process in (*series, *other)):
        raise ValueError("a ratio needs samples of both")
    generator = np.random.default_rng(1)
    a, b = _log_medians(series), _log_medians(other)
    centre = float(a.mean() - b.mean())
    drawn = _drawn(series, generator) - _drawn(other, generator)
    low, high = np.quantile(drawn, (0.025, 0.975))
    count = min(len(a), len(b))
    if count > 1:
        if paired and len(a) == len(b):
            error = float(np.std(a - b, ddof=1)) / math.sqrt(count)
        else:
            error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
        reach = student_t(count - 1) * error
        low, high = min(low, centre - reach), max(high, centre + reach)
    low, high = min(low, centre), max(high, centre)
    return Ratio(value=math.exp(centre), low=math.exp(low), high=math.exp(high), processes=count)


def typical(series: Sequence[FloatArray]) -> float:
    """The figure of a file that `ratio` divides: the geometric mean over the processes of their medians."""
    return math.exp(float(_log_medians(series).mean()))


def _blocks(series: FloatArray) -> FloatArray:
    """Medians of at most BLOCKS parts in time order."""
    parts = np.array_split(np.asarray(series, np.float64), min(BLOCKS, len(series)))
    return np.array([np.median(part) for part in parts])


def _log_medians(processes: Sequence[FloatArray]) -> FloatArray:
    return np.array([math.log(float(np.median(_blocks(series)))) for series in processes])


def _drawn(processes: Sequence[FloatArray], generator: np.random.Generator) -> FloatArray:
    """[DRAWS] means of log medians, of blocks resampled in each process."""
    total = np.zeros(DRAWS)
    for series in processes:
        blocks = _blocks(series)
        picks = generator.integers(0, len(blocks), (DRAWS, len(blocks)))
        total += np.log(np.median(blocks[picks], axis=1))
    return np.asarray(total / len(processes))
