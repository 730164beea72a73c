"""Timing several files on one device, each time in a fresh process, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.benchmarking.sources import Source
from calkd_edge.devices.session import Session, TimedRun
from calkd_edge.files import sha256_of
from calkd_edge.metrics.latency import LOADS, PROCESSES

EMULATED = {
    "min_runs": 64,
    "min_seconds": 0.0,
    "warmup_min_runs": 2,
    "warmup_min_seconds": 0.0,
    "warmup_max_seconds": 1.0,
    "warmup_window_seconds": 0.25,
}
"""Where no speed is claimed, a few runs show that a file runs."""

QUICK_TICKS = 130
"""Of a paced run that is to be quick: as many as p95 needs at 99 %."""

IDLE_S = {"quick": 2.0, "standard": 10.0, "certify": 10.0}
Watch = Callable[[str, int, int], Callable[[int, int], None]]
"""watch(what, number, of) is told of each process as it begins; what it gives takes its progress."""


@dataclass(frozen=True)
class Contender:
    """One file as it runs on a device.

    Attributes:
        key: names its samples: the precision, or baseline.PRECISION.
        precision: of the file.
        path: what runs.
        name: its published name.
        options: of the runtime.
        source_sha256: of the file it was made of.
        built: how it was compiled on the device; None for a file that is run as it is.
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
    """Warm-up, minima and the rest of what the agent is told; and in how many processes."""
    if emulated:
        return {**EMULATED, **({} if rate_hz is None else {"rate_hz": rate_hz})}, 1
    load = {**LOADS[profile], "telemetry": True, "idle_seconds": IDLE_S[profile]}
    if rate_hz is not None:
        load["rate_hz"] = rate_hz
        load["min_runs"] = QUICK_TICKS if profile == "quick" else load["min_runs"]
    if soak_s is not None:
        return {**load, "min_runs": 1, "min_seconds": soak_s}, 1
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
    """The file of a precision that a runtime executes, as a run of a recipe would choose it.

    Where the runtime compiles, its engine is built on the device.

    Raises:
        StageFailed: the file cannot be converted for the runtime.
        DeviceError: the engine cannot be built.
    """
    path, options = source.runs(precision, session.device.name, runtime)
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
    watch: Watch,
) -> dict[str, list[TimedRun]]:
    """By key, the runs of each process: A B C, A B C, so that what drifts meets all alike.

    Raises:
        DeviceError: a file does not run there, or the device is lost.
    """
    found: dict[str, list[TimedRun]] = {one.key: [] for one in contenders}
    whole = processes * len(contenders)
    for turn in range(processes):
        for place, one in enumerate(contenders):
            progress = watch(one.key, turn * len(contenders) + place + 1, whole)
            timed = session.time(
                one.path,
                images,
                runtime=runtime,
                options=one.options,
                load=load,
                progress=progress,
                trace=True,
            )
            found[one.key].append(timed)
    return found
