"""Warnings about the figures of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.benchmarking.files import most_other_work, throttled
from calkd_edge.devices.doctor.warnings import LOADED
from calkd_edge.devices.session import TimedRun
from calkd_edge.metrics.latency import BUSY_CORES
from calkd_edge.records import Benchmark, DeviceFacts, Json, TimedFile


def doubts(runs: Mapping[str, Sequence[TimedRun]]) -> tuple[str, ...]:
    """Why the times of a benchmark do not decide which file is faster; empty when they do.

    Args:
        runs: by key, each process.
    """
    reasons = []
    busy = others_cores(runs)
    if busy is not None and busy >= BUSY_CORES:
        reasons.append(f"other work used {busy:.1f} cores during the runs")
    unsteady = _unsteady(runs)
    if unsteady:
        reasons.append(f"the warm-up of {', '.join(unsteady)} did not settle")
    for key, processes in runs.items():
        slowed = dict.fromkeys(name for run in processes for name in throttled(run.trace))
        if slowed:
            reasons.append(f"{key} was throttled: {', '.join(slowed)}")
    if any(len(processes) < 2 for processes in runs.values()):
        reasons.append("one process alone was timed, and times differ between processes")
    return tuple(reasons)


def doubts_of_record(then: Benchmark, precision: str, options: Mapping[str, Json]) -> tuple[str, ...]:
    """The same of an earlier benchmark's samples of a precision, from its record.

    Args:
        then: the record.
        precision: whose samples it has.
        options: of the runtime now.
    """
    reasons = []
    for file in then.files:
        if file.precision == precision:
            reasons += _other_options(file.session_options, options, then.runtime)
            if file.throttled:
                reasons.append(f"the baseline's {precision} was throttled: {', '.join(file.throttled)}")
    if then.others_cores is not None and then.others_cores >= BUSY_CORES:
        reasons.append(f"other work used {then.others_cores:.1f} cores during the runs of the baseline")
    if any(file.precision == precision and _is_unsteady(file) for file in then.files):
        reasons.append(f"the baseline's warm-up of {precision} did not settle")
    if then.processes < 2:
        reasons.append("one process alone was timed for the baseline, and times differ between processes")
    return tuple(reasons)


def _other_options(then: Mapping[str, Json], now: Mapping[str, Json], runtime: str) -> list[str]:
    """Options with another value than then; the runtime's version, which has its name, is told elsewhere."""
    both = then.keys() & now.keys()
    differing = sorted(key for key in both if then[key] != now[key] and key not in runtime)
    return [f"the baseline ran with {key} {then[key]}, this file with {now[key]}" for key in differing]


def _is_unsteady(file: TimedFile) -> bool:
    return file.latency_ms is not None and not file.latency_ms.steady


def others_cores(runs: Mapping[str, Sequence[TimedRun]]) -> float | None:
    """Cores that other work used during the busiest process of any file; None where no device told."""
    return most_other_work(run for processes in runs.values() for run in processes)


def _unsteady(runs: Mapping[str, Sequence[TimedRun]]) -> list[str]:
    return [key for key, group in runs.items() if not all(run.reply["steady"] for run in group)]


def caveats(
    runs: Mapping[str, Sequence[TimedRun]],
    files: Sequence[TimedFile],
    facts: DeviceFacts,
    *,
    here: str,
    unproven: Sequence[str] = (),
) -> tuple[str, ...]:
    """Sentences for the reader.

    Args:
        runs: by key, each process.
        files: the timed files.
        facts: of the device.
        here: DEVICE:RUNTIME.
        unproven: precisions whose file was converted for this benchmark.
    """
    messages = []
    others = sorted({file.measured_on for file in files if file.measured_on not in (None, here)})
    if others:
        messages.append(
            f"accuracy and confidence are those of {', '.join(map(str, others))}: "
            f"compress --device {here} measures them here"
        )
    if unproven:
        messages.append(
            f"{', '.join(unproven)}: converted for this benchmark, its outputs were not compared with the "
            "ONNX file's; a recipe with this device and runtime does that"
        )
    if facts.emulated:
        return (
            *messages,
            "this device is emulated: the files run there, but times mean nothing and are not reported",
        )
    replies = {key: [run.reply for run in processes] for key, processes in runs.items()}
    first = next(iter(replies.values()))[0]
    floating = ["cores" if name.startswith("cpu") else name for name in first["floating"]]
    if floating:
        names = ", ".join(dict.fromkeys(floating))
        messages.append(
            f"clocks follow the load ({names}): these are latencies of everyday use, and they vary"
        )
    load, busy = first["before"]["load_1min"], others_cores(runs)  # later loads include the timing itself
    if busy is not None and busy >= BUSY_CORES:
        messages.append(f"other work used {busy:.1f} cores during the runs: no verdict rests on these times")
    elif busy is None and load >= LOADED:
        messages.append(f"other work ran there: {load:.1f} tasks on average over the minute before")
    unsteady = _unsteady(runs)
    if unsteady:
        messages.append(
            f"NOT STEADY: {', '.join(unsteady)} had not settled when warm-up ended; --profile standard waits "
            "longer"
        )
    for file in files:
        if file.throttled:
            messages.append(f"{file.precision}: throttled during the runs: {', '.join(file.throttled)}")
        if file.paced is not None and file.paced.missed:
            missed = f"{file.paced.missed} of {file.paced.ticks} ticks"
            messages.append(
                f"{file.precision}: missed {missed}: it is too slow for {file.paced.rate_hz:g} Hz"
            )
    return tuple(messages)
