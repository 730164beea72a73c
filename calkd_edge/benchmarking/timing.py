"""Timing of several files on one device, each time in a new process, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.benchmarking.sources import Source
from calkd_edge.devices.session import Session, TimedRun
from calkd_edge.files import sha256_of
from calkd_edge.metrics.latency import LOADS, PROCESSES
from calkd_edge.records import SpentSeconds

EMULATED = {
    "min_runs": 64,
    "min_seconds": 0.0,
    "warmup_min_runs": 2,
    "warmup_min_seconds": 0.0,
    "warmup_max_seconds": 1.0,
    "warmup_window_seconds": 0.25,
}
"""On an emulated device no speed is reported; a few runs show that a file runs."""

QUICK_TICKS = 130
"""Ticks of a quick paced run: as many as a 99 % bound of p95 needs."""

IDLE_S = {"quick": 2.0, "standard": 10.0, "certify": 10.0}
OnProcess = Callable[[str, int, int], Callable[[int, int], None]]
"""on_process(file, number, total) is called at the start of each process; its result takes the progress."""


def unwatched(file: str, number: int, total: int) -> Callable[[int, int], None]:
    """An OnProcess that shows nothing."""
    return lambda done, of: None


@dataclass(frozen=True)
class Contender:
    """One file as it runs on a device.

    Attributes:
        key: names its samples: the precision, or baseline.PRECISION.
        precision: of the file.
        path: the file that runs.
        name: its published name.
        options: of the runtime.
        source_sha256: of the file it was made from.
        built: how it was compiled on the device; None for a file that is not compiled.
    """

    key: str
    precision: str
    path: Path
    name: str
    options: dict[str, Any]
    source_sha256: str
    built: dict[str, Any] | None = None


def load_of(
    profile: str, *, rate_hz: float | None, soak_s: float | None, emulated: bool
) -> tuple[dict[str, Any], int]:
    """Warm-up, minima and the other timing settings of the agent, and the number of processes."""
    if emulated:
        return {**EMULATED, **({} if rate_hz is None else {"rate_hz": rate_hz})}, 1
    load = {**LOADS[profile], "telemetry": True, "idle_seconds": IDLE_S[profile]}
    if rate_hz is not None:
        load["rate_hz"] = rate_hz
    if soak_s is not None:
        return {**load, "min_runs": 1, "min_seconds": soak_s}, 1
    if profile == "quick" and rate_hz is not None:
        load["min_runs"] = min(load["min_runs"], QUICK_TICKS)
    return load, PROCESSES[profile]


def contender(
    source: Source,
    precision: str,
    session: Session,
    work: Path,
    *,
    runtime: str,
    threads: int,
    prefix: str = "",
) -> Contender:
    """The file of a precision that a runtime executes, as a run of a recipe chooses it.

    For a runtime that compiles, the engine is built on the device.

    Raises:
        StageFailed: the file cannot be converted for the runtime.
        DeviceError: the engine cannot be built.
    """
    path, options = source.file_for(precision, session.device.name, runtime)
    sha256, name, key = sha256_of(path), source.name_of(precision, path), prefix + precision
    if RUNTIMES[runtime].is_converted:
        options["sha256"] = sha256
    if not RUNTIMES[runtime].is_compiled:
        return Contender(key, precision, path, name, {**options, "threads": threads}, sha256)
    engine = work / f"{key}.engine"
    built = session.build(path, engine, options=options)
    sealed = {**options, "sha256": built["sha256"]}
    return Contender(key, precision, engine, name, sealed, sha256, dict(built))


def time_in_turns(
    session: Session,
    contenders: Sequence[Contender],
    images: Path,
    *,
    runtime: str,
    load: Mapping[str, Any],
    processes: int,
    on_process: OnProcess,
) -> dict[str, list[TimedRun]]:
    """The runs of each process by key: A B C, A B C, so that drift affects all files equally.

    Raises:
        DeviceError: a file does not run there, or the device is lost.
    """
    runs: dict[str, list[TimedRun]] = {item.key: [] for item in contenders}
    total = processes * len(contenders)
    for turn in range(processes):
        for index, item in enumerate(contenders):
            progress = on_process(item.key, turn * len(contenders) + index + 1, total)
            timed = session.time(
                item.path,
                images,
                runtime=runtime,
                options=item.options,
                load=load,
                progress=progress,
                trace=True,
            )
            runs[item.key].append(timed)
    return runs


def spent_seconds(started: float, building: float, runs: Mapping[str, Sequence[TimedRun]]) -> SpentSeconds:
    """How the time was spent; the overhead is the time outside timing, warm-up, idle time and building."""
    replies = [run.reply for processes in runs.values() for run in processes]
    timed = sum((reply["window_ns"][1] - reply["window_ns"][0]) / 1e9 for reply in replies)
    warmup = sum(float(reply["warmup_seconds"]) for reply in replies)
    idle = sum((end - start) / 1e9 for reply in replies for start, end in reply["idle_ns"])
    total = time.perf_counter() - started
    return SpentSeconds(
        whole=total,
        timed=timed,
        warmup=warmup,
        idle=idle,
        building=building,
        overhead=total - timed - warmup - idle - building,
    )
