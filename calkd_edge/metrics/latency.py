"""How long is measured, and from raw samples to the latency that a report may print.

In scope: profiles, percentiles with bounds, a histogram, two latencies compared, and why they do not decide.
Out of scope: timing (the agent does), gating.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from calkd_edge.metrics.intervals import Bounds, student_t, worst_quantile
from calkd_edge.records import FloatArray, IntArray, LatencySummary, Percentile

HISTOGRAM_BINS = 60
SOAK_WINDOW_S, SOAK_WINDOWS = 60.0, 6
"""A soak's first and last minute are compared; where it is shorter than so many, its first and last part."""

LOADS: dict[str, dict[str, Any]] = {
    "quick": {
        "min_runs": 350,
        "min_seconds": 1.0,
        "warmup_min_runs": 50,
        "warmup_min_seconds": 1.0,
        "warmup_max_seconds": 5.0,
        "warmup_window_seconds": 0.25,
    },
    "standard": {
        "min_runs": 1024,
        "min_seconds": 60.0,
        "warmup_min_runs": 50,
        "warmup_min_seconds": 2.0,
        "warmup_max_seconds": 60.0,
        "warmup_window_seconds": 1.0,
    },
}
LOADS["certify"] = {**LOADS["standard"], "min_seconds": 600.0}
TIMED_IMAGES = 64
"""Real test images, in turn: never zeros, and few enough to lie in memory."""

PROCESSES = {"quick": 3, "standard": 3, "certify": 3}
"""By profile; LOADS has the warm-up and the minima of each. Times of one file differ between processes."""

BUSY_CORES = 0.25
"""Cores that other work may use during the runs before their times no longer compare files."""


def latency_summary(
    processes: Sequence[FloatArray],
    *,
    steady: bool,
    warmup_runs: int,
    warmup_seconds: float,
    load_ms: float,
    first_ms: float,
    threads: int,
    profile: str,
    measured_at: str,
    others_cores: float | None = None,
) -> LatencySummary:
    """The figures of all processes together: percentiles of the worst, the histogram of all samples.

    Args:
        processes: milliseconds of each run in time order, an array for each process.
        steady: whether every warm-up ended steady.
        warmup_runs: in all.
        warmup_seconds: in all.
        load_ms: time to open the model.
        first_ms: time of the first inference after that.
        threads: of the runtime.
        profile: one of PROCESSES.
        measured_at: ISO 8601, UTC.
        others_cores: that other work used during the busiest process; None where it is not known.
    """
    percentiles = {}
    effective = []
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
        bounds = worst_quantile(processes, share)
        percentiles[name] = Percentile(value=bounds.value, low=bounds.low, high=bounds.high)
        effective.append(bounds.effective)
    everything = np.concatenate(list(processes))
    # The slowest of a thousand runs may be a hundred times the median: it counts in the last bin.
    shown = np.minimum(everything, np.quantile(everything, 0.995))
    # Runs that differ by a rounding of the clock alone would ask for bins narrower than floats are apart.
    low = float(shown.min())
    high = max(float(shown.max()), low * (1 + 1e-6))
    counts, edges = np.histogram(shown, bins=HISTOGRAM_BINS, range=(low, high))
    return LatencySummary(
        **percentiles,
        samples=len(everything),
        effective_samples=min(effective),
        mean_ms=float(everything.mean()),
        steady=steady,
        warmup_runs=warmup_runs,
        warmup_seconds=warmup_seconds,
        load_ms=load_ms,
        first_ms=first_ms,
        threads=threads,
        processes=len(processes),
        profile=profile,
        measured_at=measured_at,
        others_cores=others_cores,
        process_p50_ms=tuple(float(np.median(process)) for process in processes),
        histogram_edges_ms=tuple(map(float, edges)),
        histogram_counts=tuple(map(int, counts)),
    )


def doubts_of(summary: LatencySummary) -> tuple[str, ...]:
    """Why these times do not decide whether a file is fast enough, or faster; empty when they do."""
    reasons = []
    if summary.others_cores is not None and summary.others_cores >= BUSY_CORES:
        reasons.append(f"other work used {summary.others_cores:.1f} cores during the runs")
    if not summary.steady:
        reasons.append("the warm-up did not settle")
    if summary.processes < 2:
        reasons.append("one process alone was timed, and times differ between processes")
    return tuple(reasons)


def typical_p50(summary: LatencySummary) -> float:
    """The geometric mean of the processes' medians in milliseconds; the p50 where they were not kept."""
    medians = summary.process_p50_ms or (summary.p50.value or 0.0,)
    return math.exp(float(np.mean(np.log(medians))))


def p50_ratio(latency: LatencySummary, other: LatencySummary) -> Bounds | None:
    """`typical_p50` over that of `other`, as `benchmark` compares files; None where one has no bounds.

    The bounds hold when those of both hold, and are at least as wide as Student's t over the processes, whose
    medians differ by more than the runs of one process tell.
    """
    a, b = latency.p50, other.p50
    if a.value is None or a.low is None or a.high is None:
        return None
    if b.value is None or b.low is None or b.high is None or b.low <= 0:
        return None
    low, high = a.low / b.high, a.high / b.low
    value = typical_p50(latency) / typical_p50(other)
    fewest = min(len(latency.process_p50_ms), len(other.process_p50_ms))
    if fewest > 1:
        logs = [np.log(summary.process_p50_ms) for summary in (latency, other)]
        error = math.sqrt(sum(np.var(each, ddof=1) / len(each) for each in logs))
        reach = student_t(fewest - 1) * error
        low, high = min(low, value * math.exp(-reach)), max(high, value * math.exp(reach))
    return Bounds(value, low, high)


def tail(processes: Sequence[FloatArray]) -> Percentile:
    """The worst process' p99 in milliseconds, None where the effective number of runs cannot carry it."""
    bounds = worst_quantile(processes, 0.99)
    return Percentile(value=bounds.value, low=bounds.low, high=bounds.high)


def ends_of(starts_ns: IntArray, seconds: float) -> tuple[IntArray, IntArray, float]:
    """Which runs began in the first and which in the last window of a soak, and the window's seconds.

    Args:
        starts_ns: [N] when each run began; ascending.
        seconds: of the whole.
    """
    window_s = min(SOAK_WINDOW_S, seconds / SOAK_WINDOWS)
    since = (starts_ns - starts_ns[0]) / 1e9
    first, last = since < window_s, since >= since[-1] - window_s
    return np.flatnonzero(first), np.flatnonzero(last), window_s
