"""Performance mode: one image at a time, from host memory to host memory, every sample kept.

Warm-up runs until consecutive windows agree; then runs follow back to back until both `min_runs` and
`min_seconds`
are met. Nothing is clipped. The clock is time.perf_counter_ns, which never steps back.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from calkd_edge.agent import probe
from calkd_edge.agent.progress import Progress
from calkd_edge.agent.runtimes import Images, Runtime, open_runtime

STEADY_WINDOWS = 3
STEADY_TOLERANCE = 0.02


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time a model and write job["samples"] (.npy int64 nanoseconds, in order).

    The job holds: model, images, runtime, options, min_runs, min_seconds, warmup_min_runs,
    warmup_min_seconds,
    warmup_max_seconds, warmup_window_seconds, samples.
    """
    images = np.load(job["images"], allow_pickle=False)
    feeds = [np.ascontiguousarray(images[i : i + 1]) for i in range(len(images))]
    begun = time.perf_counter_ns()
    with open_runtime(job["runtime"], job["model"], job["options"]) as runtime:
        loaded = time.perf_counter_ns()
        first = timed(runtime, feeds[0])
        before = probe.state()
        warm = warm_up(runtime, feeds, job)
        samples = measure(runtime, feeds, int(job["min_runs"]), float(job["min_seconds"]))
        after = probe.state()
        settings = runtime.session_options()
    with open(job["samples"], "wb") as handle:
        np.save(handle, np.asarray(samples, dtype=np.int64))
    return {
        "session_options": settings,
        "load_ms": (loaded - begun) / 1e6,
        "first_ms": first / 1e6,
        "warmup_runs": warm["runs"],
        "warmup_seconds": warm["seconds"],
        "steady": warm["steady"],
        "before": before,
        "after": after,
    }


def timed(runtime: Runtime, feed: Images) -> int:
    """Nanoseconds of one inference."""
    begun = time.perf_counter_ns()
    runtime.infer(feed)
    return time.perf_counter_ns() - begun


def warm_up(runtime: Runtime, feeds: list[Images], job: dict[str, Any]) -> dict[str, Any]:
    """Run until the means of the last windows lie within two per cent of each other, or time is up."""
    window_ns = float(job["warmup_window_seconds"]) * 1e9
    begun, runs = time.perf_counter_ns(), 0
    means: list[float] = []
    while True:
        window_begun, window_runs = time.perf_counter_ns(), 0
        while time.perf_counter_ns() - window_begun < window_ns or window_runs == 0:
            runtime.infer(feeds[runs % len(feeds)])
            runs += 1
            window_runs += 1
        means.append((time.perf_counter_ns() - window_begun) / window_runs)
        seconds = (time.perf_counter_ns() - begun) / 1e9
        last = means[-STEADY_WINDOWS:]
        steady = len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + STEADY_TOLERANCE)
        enough = runs >= int(job["warmup_min_runs"]) and seconds >= float(job["warmup_min_seconds"])
        if (enough and steady) or seconds >= float(job["warmup_max_seconds"]):
            return {"runs": runs, "seconds": seconds, "steady": steady}


def measure(runtime: Runtime, feeds: list[Images], min_runs: int, min_seconds: float) -> list[int]:
    """Nanoseconds of each run, until both minima are met."""
    samples: list[int] = []
    progress = Progress()
    begun = time.perf_counter_ns()
    while len(samples) < min_runs or time.perf_counter_ns() - begun < min_seconds * 1e9:
        samples.append(timed(runtime, feeds[len(samples) % len(feeds)]))
        seconds = (time.perf_counter_ns() - begun) / 1e9
        progress.tell(min(1.0, len(samples) / max(min_runs, 1), seconds / max(min_seconds, 1e-9)), 1.0)
    return samples
