"""The verb `time`: latency of one image, from host memory to host memory, every sample kept.

Warm-up runs until consecutive windows agree. Then runs follow back to back, or (`rate_hz`) one starts at each
tick of a fixed schedule, as a camera triggers it, until both `min_runs` and `min_seconds` are met. No sample
is removed. The clock is time.perf_counter_ns, which never steps back.
"""

from __future__ import annotations

import contextlib
import re
import resource
import time
from array import array
from typing import Any

import numpy as np

from calkd_edge.agent import probe, sensors
from calkd_edge.agent.board_lock import BoardLock
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.other_work import OtherWork
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.progress import Progress
from calkd_edge.agent.runtimes import Runtime, open_runtime
from calkd_edge.agent.telemetry import Sampler

STEADY_WINDOWS = 3
STEADY_TOLERANCE = 0.02
SPIN_NS = 500_000
"""The time before a tick at which sleeping ends and looping starts: a sleep may end late, a loop does not."""

clock = time.perf_counter_ns


class Series:
    """Runs in order.

    Attributes:
        starts: nanoseconds at which the latency of each starts to count.
        durations: nanoseconds of each.
        delays: nanoseconds by which each started after its tick; empty without a rate.
        device_ms: milliseconds of each by the runtime, without the copies; empty where it reports none.
    """

    def __init__(self) -> None:
        self.starts, self.durations, self.delays = array("q"), array("q"), array("q")
        self.device_ms = array("d")

    def missed(self, rate_hz: float) -> int:
        """Ticks between the first and the last run at which no run started."""
        ticks = round((self.starts[-1] - self.starts[0]) * rate_hz / 1e9) + 1
        return ticks - len(self.starts) if rate_hz else 0


def run(job: dict[str, Any]) -> dict[str, object]:
    """Time a model and write job["samples"] (.npy int64 nanoseconds, in order).

    The job holds: model, images, runtime, options, min_runs, min_seconds, warmup_min_runs,
    warmup_min_seconds, warmup_max_seconds, warmup_window_seconds, samples. It may hold: rate_hz; trace, an
    .npz for samples_ns, starts_ns, late_ns, device_ms of each run and, with telemetry, the sampler's arrays;
    idle_seconds, of rest before and after where power can be read; owner, whom others wait for; root, a
    folder that stands for "/".
    """
    with BoardLock(str(job.get("owner", "another user"))):
        return _run(job)


def _run(job: dict[str, Any]) -> dict[str, object]:
    machine = Machine(job.get("root", "/"))
    images = np.load(job["images"], allow_pickle=False)
    feeds = [np.ascontiguousarray(images[i : i + 1]) for i in range(len(images))]
    start = clock()
    with open_runtime(job["runtime"], job["model"], job["options"]) as runtime:
        loaded = clock()
        if runtime.fixed not in (None, 1):
            raise AgentProblem(
                "{} takes {} images a run: latency is measured with one".format(job["model"], runtime.fixed),
                "Export it for any number of images, or for one.",
            )
        first = timed(runtime, feeds[0])
        sampling = Sampler(machine) if job.get("telemetry") else contextlib.nullcontext()
        with sampling as sampler:
            source = sampler.source if sampler else None
            rest_s = float(job.get("idle_seconds", 0)) if source else 0.0
            idle = [rest(rest_s)] if rest_s else []
            before = probe.state(machine)
            warm = warm_up(runtime, feeds, job)
            others = OtherWork(machine)
            series = measure(runtime, feeds, int(job["min_runs"]), float(job["min_seconds"]), rate_of(job))
            others_cores = others.cores()
            after = probe.state(machine)
            if rest_s:
                idle.append(rest(rest_s))
        settings = runtime.session_options()
    samples = np.frombuffer(series.durations, np.int64)
    with open(job["samples"], "wb") as handle:
        np.save(handle, samples)
    if "trace" in job:
        trace: dict[str, Any] = dict(sampler.arrays() if sampler else {}, samples_ns=samples)
        trace.update(starts_ns=np.frombuffer(series.starts, np.int64))
        trace.update(late_ns=np.array(series.delays, np.int64), device_ms=np.array(series.device_ms))
        with open(job["trace"], "wb") as handle:
            np.savez(handle, **trace)
    return {
        "session_options": settings,
        "load_ms": (loaded - start) / 1e6,
        "first_ms": first / 1e6,
        "warmup_runs": warm["runs"],
        "warmup_seconds": warm["seconds"],
        "steady": warm["steady"],
        "before": before,
        "after": after,
        "others_cores": others_cores,
        "missed": series.missed(rate_of(job)),
        "window_ns": [series.starts[0], series.starts[-1] + series.durations[-1]],
        "idle_ns": idle,
        "power_source": source,
        "floating": [item.sensor.name for item in sensors.clocks(machine) if item.floats],
        "peak_memory_bytes": peak_memory_bytes(),
    }


def timed(runtime: Runtime, feed: np.ndarray) -> int:
    """Nanoseconds of one inference."""
    start = clock()
    runtime.infer(feed)
    return clock() - start


def rest(seconds: float) -> list[int]:
    """Sleep; returns start and end in nanoseconds."""
    start = clock()
    time.sleep(seconds)
    return [start, clock()]


def warm_up(runtime: Runtime, feeds: list[np.ndarray], job: dict[str, Any]) -> dict[str, object]:
    """Run until the means of the last windows lie within two per cent of each other, or time is up.

    Before a paced run, `warmup_min_seconds` of its ticks follow: a machine slows down between ticks.
    """
    window_ns = float(job["warmup_window_seconds"]) * 1e9
    start, runs = clock(), 0
    means: list[float] = []
    while True:
        window_start, window_runs = clock(), 0
        while clock() - window_start < window_ns or window_runs == 0:
            runtime.infer(feeds[runs % len(feeds)])
            runs += 1
            window_runs += 1
        means.append((clock() - window_start) / window_runs)
        seconds = (clock() - start) / 1e9
        last = means[-STEADY_WINDOWS:]
        steady = len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + STEADY_TOLERANCE)
        enough = runs >= int(job["warmup_min_runs"]) and seconds >= float(job["warmup_min_seconds"])
        if (enough and steady) or seconds >= float(job["warmup_max_seconds"]):
            break
    if rate_of(job):
        runs += len(measure(runtime, feeds, 1, float(job["warmup_min_seconds"]), rate_of(job)).durations)
    return {"runs": runs, "seconds": (clock() - start) / 1e9, "steady": steady}


def rate_of(job: dict[str, Any]) -> float:
    """Ticks a second; 0 when runs follow back to back."""
    return float(job.get("rate_hz") or 0)


def measure(
    runtime: Runtime, feeds: list[np.ndarray], min_runs: int, min_seconds: float, rate_hz: float = 0
) -> Series:
    """Run until both minima are met.

    With a rate, the latency of a run counts from its tick, so a late start adds to it. When a run ends after
    several ticks, the newest is served at once and the others are missed: a camera keeps its last picture.
    """
    series, progress, count = Series(), Progress(), len(feeds)
    period, min_ns = 1e9 / rate_hz if rate_hz else 0.0, int(min_seconds * 1e9)
    origin = now = clock() + int(period)
    on_device: Any = runtime if hasattr(runtime, "device_ms") else None
    runs = tick = 0
    while runs < min_runs or now - origin < min_ns:
        feed = feeds[runs % count]
        if period:
            due = origin + int(tick * period)
            wait_until(due)
            series.delays.append(clock() - due)
        else:
            due = clock()
        runtime.infer(feed)
        now = clock()
        series.starts.append(due)
        series.durations.append(now - due)
        if on_device:
            series.device_ms.append(on_device.device_ms)
        runs += 1
        if period:
            tick = max(tick + 1, int((now - origin) // period))
        progress.report(min(1.0, runs / max(min_runs, 1), (now - origin) / max(min_ns, 1)), 1.0)
    return series


def wait_until(due: int) -> None:
    """Sleep until shortly before `due`, then loop until it."""
    left = due - clock()
    if left > SPIN_NS:
        time.sleep((left - SPIN_NS) / 1e9)
    while clock() < due:
        pass


def peak_memory_bytes() -> int:
    """The peak memory of this process; that of getrusage may be the parent's."""
    match = re.search(r"VmHWM:\s*([0-9]+) kB", Machine().read("/proc/self/status"))
    return 1024 * (int(match.group(1)) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
