"""From raw samples to the latency that a report may print: percentiles with bounds, and a histogram.

In scope: summarising. Out of scope: timing (the agent does), gating.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calkd_edge.intervals import worst_quantile
from calkd_edge.records import FloatArray, LatencySummary, Percentile

HISTOGRAM_BINS = 60


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
        profile: quick or standard.
        measured_at: ISO 8601, UTC.
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
        histogram_edges_ms=tuple(map(float, edges)),
        histogram_counts=tuple(map(int, counts)),
    )
