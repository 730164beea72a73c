"""benchmark.json: files side by side on one device, and against an earlier benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Json, Record
from calkd_edge.records.energy import Energy
from calkd_edge.records.quality import Estimate
from calkd_edge.records.release import DeviceFacts, LatencySummary, Percentile


class TimedSource(Record):
    """What was given: a run's folder, a bundle, or one ONNX file."""

    kind: Literal["run", "bundle", "file"]
    path: str


class Ratio(Record):
    """A median over another, with a two-sided interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    processes: int = Field(description="of each; with one, what differs between processes is not inside")


class OnDevice(Record):
    """Scope infer: the device's own time of an inference in milliseconds, without copying in and out."""

    p50: Percentile
    p95: Percentile


class Paced(Record):
    """A schedule of ticks, as a camera gives them, and what became of it."""

    rate_hz: float
    held_hz: float = Field(description="runs that began, by the seconds between the first and the last")
    ticks: int
    missed: int = Field(description="ticks that passed while an earlier picture was worked on")
    late_p95_ms: float = Field(description="how far behind its tick a run began")
    late_max_ms: float


class Soak(Record):
    """The first window of a long run against its last, in milliseconds."""

    seconds: float
    window_s: float
    first: Percentile = Field(description="p50")
    last: Percentile
    ratio: Ratio = Field(description="last over first")
    hottest_c: float | None


class TimedFile(Record):
    """One precision on the device. No latency is told of an emulated one."""

    precision: str
    file: str
    sha256: str = Field(description="of the file that ran")
    source_sha256: str = Field(description="of the file it was made of, where it was compiled; else the same")
    size_bytes: int
    session_options: dict[str, Json]
    built: dict[str, Json] | None
    emulated: bool
    latency_ms: LatencySummary | None
    p99: Percentile | None
    infer_ms: OnDevice | None = Field(description="where the runtime tells")
    paced: Paced | None
    soak: Soak | None
    energy: Energy | None = Field(description="of the process that used most")
    peak_memory_bytes: int | None
    throttled: tuple[str, ...] = Field(description="counters that rose and states that were on meanwhile")
    top1: Estimate | None
    ece: Estimate | None
    measured_on: str | None = Field(None, description="DEVICE:RUNTIME whose answers top1 and ece score")


class Worth(Record):
    """Whether a precision is worth it on this device, against fp32."""

    precision: str
    worth: Literal["yes", "no", "undecided", "emulated"]
    ratio: Ratio | None = Field(description="of medians, over fp32's")
    size_ratio: float
    energy_ratio: float | None = Field(description="of joules an inference, idle taken off")
    reason: str


class AgainstBaseline(Record):
    """A file against the one of the same precision in an earlier benchmark."""

    precision: str
    interleaved: bool = Field(description="both were timed now, in turns")
    ratio: Ratio = Field(description="of medians, over the baseline's")
    verdict: Literal["better", "worse", "inconclusive"]
    reason: str


class SpentSeconds(Record):
    """Where the time went."""

    whole: float
    timed: float
    warmup: float
    idle: float = Field(description="rests in which idle power was read")
    building: float
    overhead: float = Field(description="the whole without the four above")


class Benchmark(Record):
    """benchmark.json, whole. Raw samples lie beside it in benchmark.npz."""

    schema_version: Literal[1] = 1
    source: TimedSource
    device: str
    runtime: str
    runtime_version: str
    scope: Literal["e2e", "infer"] = Field("e2e", description="e2e: from host memory to host memory")
    profile: str
    processes: int
    threads: int | None
    rate_hz: float | None
    soak_s: float | None
    facts: DeviceFacts
    images: str
    files: tuple[TimedFile, ...]
    worth: tuple[Worth, ...]
    recommended: str | None
    baseline: str | None
    against: tuple[AgainstBaseline, ...]
    warnings: tuple[str, ...]
    seconds: SpentSeconds
    measured_at: str
    samples_sha256: str = Field(description="of benchmark.npz")
