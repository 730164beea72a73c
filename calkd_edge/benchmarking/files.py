"""From the runs of one file to its entry in benchmark.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from calkd_edge.benchmarking.ratios import ratio
from calkd_edge.benchmarking.timing import Contender
from calkd_edge.devices.session import TimedRun
from calkd_edge.files import sha256_of
from calkd_edge.metrics.energy import energy
from calkd_edge.metrics.intervals import worst_quantile
from calkd_edge.metrics.latency import ends_of, latency_summary, tail
from calkd_edge.records import (
    Energy,
    FloatArray,
    LatencySummary,
    Measurement,
    OnDevice,
    Paced,
    Percentile,
    Soak,
    TimedFile,
)


def milliseconds(runs: Sequence[TimedRun]) -> list[FloatArray]:
    """Milliseconds of each run, an array for each process."""
    return [np.asarray(run.samples_ns / 1e6) for run in runs]


def timed_file(
    contender: Contender,
    runs: list[TimedRun],
    *,
    emulated: bool,
    profile: str,
    threads: int,
    rate_hz: float | None,
    soak_s: float | None,
    measured: Measurement | None,
) -> TimedFile:
    """The result of one file; no times if the device is emulated.

    Args:
        contender: the file.
        runs: of its processes.
        emulated: whether the device is.
        profile: that was asked for.
        threads: of the runtime.
        rate_hz: ticks a second; None where runs followed back to back.
        soak_s: seconds of a long run, None where it was none.
        measured: what the run's report says of the precision.
    """
    quality = measured.quality if measured else None
    replies = [run.reply for run in runs]
    timing: dict[str, Any] = dict.fromkeys(("latency_ms", "p99", "infer_ms", "paced", "soak", "energy"))
    if not emulated:
        timing["latency_ms"] = summarise(runs, threads=threads, profile=profile)
        timing["p99"] = tail(milliseconds(runs))
        timing["infer_ms"] = on_device(runs)
        timing["paced"] = None if rate_hz is None else paced(runs, rate_hz)
        timing["soak"] = None if soak_s is None else soak(runs[0], soak_s)
        timing["energy"] = most_energy(runs)
    return TimedFile(
        precision=contender.precision,
        file=contender.name,
        sha256=sha256_of(contender.path),
        source_sha256=contender.source_sha256,
        size_bytes=contender.path.stat().st_size,
        session_options=replies[0]["session_options"],
        built=contender.built,
        emulated=emulated,
        **timing,
        peak_memory_bytes=max(reply["peak_memory_bytes"] for reply in replies),
        throttled=tuple(dict.fromkeys(name for run in runs for name in throttled(run.trace))),
        top1=quality.top1 if quality else None,
        ece=quality.ece if quality else None,
        measured_on=f"{measured.device}:{measured.runtime}" if measured else None,
    )


def most_other_work(runs: Iterable[TimedRun]) -> float | None:
    """Cores that other work used during the busiest process; None where no device told."""
    known = [run.reply["others_cores"] for run in runs if run.reply.get("others_cores") is not None]
    return max(map(float, known), default=None)


def summarise(runs: Sequence[TimedRun], *, threads: int, profile: str) -> LatencySummary:
    """The figures of all processes together: bounds from the worst, the histogram from all samples."""
    replies = [timed.reply for timed in runs]
    return latency_summary(
        [timed.samples_ns / 1e6 for timed in runs],
        steady=all(reply["steady"] for reply in replies),
        warmup_runs=sum(reply["warmup_runs"] for reply in replies),
        warmup_seconds=sum(reply["warmup_seconds"] for reply in replies),
        load_ms=float(np.median([reply["load_ms"] for reply in replies])),
        first_ms=float(np.median([reply["first_ms"] for reply in replies])),
        threads=threads,
        profile=profile,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        others_cores=most_other_work(runs),
    )


def on_device(runs: Sequence[TimedRun]) -> OnDevice | None:
    """Times that the runtime itself reports, of the worst process; None if it reports none."""
    series = [np.asarray(run.trace["device_ms"]) for run in runs]
    if not all(len(each) for each in series):
        return None
    return OnDevice(p50=_percentile(series, 0.5), p95=_percentile(series, 0.95))


def paced(runs: Sequence[TimedRun], rate_hz: float) -> Paced:
    """How a schedule was kept, over all processes."""
    starts = [run.trace["starts_ns"] + run.trace["late_ns"] for run in runs]
    gaps = sum(len(times) - 1 for times in starts)
    seconds = sum(float(times[-1] - times[0]) / 1e9 for times in starts)
    late = np.concatenate([run.trace["late_ns"] for run in runs]) / 1e6
    missed = sum(int(run.reply["missed"]) for run in runs)
    return Paced(
        rate_hz=rate_hz,
        held_hz=gaps / seconds if gaps else rate_hz,
        ticks=len(late) + missed,
        missed=missed,
        late_p95_ms=float(np.quantile(late, 0.95)),
        late_max_ms=float(late.max()),
    )


def soak(run: TimedRun, seconds: float) -> Soak:
    """The first window against the last."""
    first, last, window_s = ends_of(run.trace["starts_ns"], seconds)
    series = milliseconds([run])[0]
    zones = _columns(run.trace, "temperature_c.")
    hottest = [float(np.nanmax(values)) for values in zones.values() if np.isfinite(values).any()]
    return Soak(
        seconds=seconds,
        window_s=window_s,
        first=_percentile([series[first]], 0.5),
        last=_percentile([series[last]], 0.5),
        ratio=ratio([series[last]], [series[first]], paired=True),
        hottest_c=max(hottest, default=None),
    )


def most_energy(runs: Sequence[TimedRun]) -> Energy | None:
    """Energy of the process that used most per inference; None if no power could be read."""
    used = [energy for energy in map(_energy, runs) if energy is not None]
    return max(used, key=lambda energy: energy.joules_per_inference or 0.0, default=None)


def _energy(run: TimedRun) -> Energy | None:
    """Energy of the timed runs, minus the mean idle power before and after them."""
    idle = [(int(start), int(end)) for start, end in run.reply["idle_ns"]]
    if "columns" not in run.trace or not idle:
        return None
    start, end = run.reply["window_ns"]
    columns = [str(name) for name in run.trace["columns"]]
    return energy(
        run.trace["times_ns"],
        run.trace["values"],
        columns,
        (start, end),
        inferences=len(run.samples_ns),
        idle_ns=idle,
    )


def throttled(trace: Mapping[str, np.ndarray]) -> list[str]:
    """Counters of throttling that rose while a process ran, and causes that slowed the machine down."""
    causes = []
    for name, values in _columns(trace, "events.").items():
        finite = values[np.isfinite(values)]
        if len(finite) and finite.max() > finite[0]:
            causes.append(f"{name} +{finite.max() - finite[0]:.0f}")
    for name, values in _columns(trace, "throttled.").items():
        if (values[np.isfinite(values)] > 0).any():
            causes.append(name)
    return causes


def _columns(trace: Mapping[str, np.ndarray], kind: str) -> dict[str, FloatArray]:
    names = [str(name) for name in trace.get("columns", ())]
    chosen = [(index, name) for index, name in enumerate(names) if name.startswith(kind)]
    return {name.removeprefix(kind): trace["values"][:, index] for index, name in chosen}


def _percentile(series: Sequence[FloatArray], share: float) -> Percentile:
    bounds = worst_quantile(series, share)
    return Percentile(value=bounds.value, low=bounds.low, high=bounds.high)
