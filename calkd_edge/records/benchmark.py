"""benchmark.json: files side by side on one device, and compared with an earlier benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Json, Record
from calkd_edge.records.energy import Energy
from calkd_edge.records.quality import Estimate
from calkd_edge.records.release import DeviceFacts, LatencySummary, Percentile


class TimedSource(Record):
    """The input of a benchmark: a run's folder, a bundle, or one ONNX file."""

    kind: Literal["run", "bundle", "file"]
    path: str


class Ratio(Record):
    """One median divided by another, with a two-sided interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    processes: int = Field(
        description="of each side; with 1, the interval leaves out differences between processes"
    )


class OnDevice(Record):
    """Scope infer: time of an inference on the device in milliseconds, without copying in and out."""

    p50: Percentile
    p95: Percentile


class Paced(Record):
    """A schedule of ticks, such as a camera's, and how well it was kept."""

    rate_hz: float
    held_hz: float = Field(description="started runs per second between the first and the last")
    ticks: int
    missed: int = Field(description="ticks that passed during the inference of an earlier image")
    late_p95_ms: float = Field(description="delay between a tick and the start of its run")
    late_max_ms: float


class Soak(Record):
    """The first and the last window of a long run, in milliseconds."""

    seconds: float
    window_s: float
    first: Percentile = Field(description="p50")
    last: Percentile
    ratio: Ratio = Field(description="last over first")
    hottest_c: float | None


class TimedFile(Record):
    """One precision on the device; an emulated device has no latency."""

    precision: str
    file: str
    sha256: str = Field(description="of the file that ran")
    source_sha256: str = Field(description="of the file it was compiled from; else the same as sha256")
    size_bytes: int
    session_options: dict[str, Json]
    built: dict[str, Json] | None
    emulated: bool
    latency_ms: LatencySummary | None
    p99: Percentile | None
    infer_ms: OnDevice | None = Field(description="where the runtime reports it")
    paced: Paced | None
    soak: Soak | None
    energy: Energy | None = Field(description="of the process that used the most")
    peak_memory_bytes: int | None
    throttled: tuple[str, ...] = Field(
        description="counters that rose and states that were active during the measurement"
    )
    top1: Estimate | None
    ece: Estimate | None
    measured_on: str | None = Field(None, description="DEVICE:RUNTIME whose outputs top1 and ece score")


class Worth(Record):
    """Whether a precision is worth using on this device instead of fp32."""

    precision: str
    worth: Literal["yes", "no", "undecided", "emulated"]
    ratio: Ratio | None = Field(description="median over the median of fp32")
    size_ratio: float
    energy_ratio: float | None = Field(
        description="joules per inference over those of fp32, without idle power"
    )
    reason: str


class AgainstBaseline(Record):
    """A file compared with the file of the same precision in an earlier benchmark."""

    precision: str
    interleaved: bool = Field(description="both were timed now, alternately")
    ratio: Ratio = Field(description="median over the median of the baseline")
    verdict: Literal["better", "worse", "unchanged", "inconclusive"]
    reason: str


class SpentSeconds(Record):
    """How long each part of a benchmark took."""

    whole: float
    timed: float
    warmup: float
    idle: float = Field(description="pauses in which idle power was read")
    building: float
    overhead: float = Field(description="`whole` minus the four above")


class Benchmark(Record):
    """The complete benchmark.json. Raw samples are in benchmark.npz beside it."""

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
    others_cores: float | None = Field(
        None, description="cores that other work used during the runs of the busiest process"
    )
    warnings: tuple[str, ...]
    seconds: SpentSeconds
    measured_at: str
    samples_sha256: str = Field(description="of benchmark.npz")
