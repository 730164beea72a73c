"""Measurements, gate results and the report: from a percentile to report.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Json, Record
from calkd_edge.records.calibration import Calibration
from calkd_edge.records.other_images import OutOfDistribution, Unknown
from calkd_edge.records.quality import Estimate, GuaranteedThreshold, Quality
from calkd_edge.records.shown import CoverageCurve, Epoch, Pictures


class Percentile(Record):
    """A latency percentile with distribution-free bounds; None where the sample is too small."""

    value: float | None
    low: float | None
    high: float | None


class LatencySummary(Record):
    """Latency of one image from host memory to host memory, in milliseconds."""

    p50: Percentile
    p90: Percentile
    p95: Percentile
    samples: int
    effective_samples: float
    mean_ms: float
    steady: bool
    warmup_runs: int
    warmup_seconds: float
    load_ms: float
    first_ms: float
    threads: int
    processes: int
    profile: str
    measured_at: str
    others_cores: float | None = None
    process_p50_ms: tuple[float, ...] = ()
    level: float = 0.95
    histogram_edges_ms: tuple[float, ...] = ()
    histogram_counts: tuple[int, ...] = ()


class DeviceFacts(Record):
    """Facts of a device from the agent's probe; the same record for a laptop and a board."""

    board: str
    machine: str
    system: str
    python: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    memory_bytes: int
    l4t: str | None
    power_mode: str | None
    emulated: bool
    runtimes: dict[str, str]
    numpy: str


class ToFp32(Record):
    """How far a file's answers are from those of the same student in fp32, on the same device and images.

    Top-1 hardly tells two files of one network apart; these do.
    """

    images: int
    agreement: Estimate = Field(description="share of images with the same predicted class")
    kl: Estimate | None = Field(
        description="mean Kullback-Leibler divergence of the probabilities from fp32's, in nats; null for "
        "one image, or where a class has no probability"
    )


class Measurement(Record):
    """One model in one precision on one device: the file that ran, its quality and its latency.

    `latency_ms` of an emulated device is kept, but does not show speed.
    """

    model: Literal["teacher", "student", "control", "baseline"]
    precision: str
    calibrated: bool
    device: str
    runtime: str
    file: str
    sha256: str
    session_options: dict[str, Json]
    images: int
    quality: Quality | None
    calibration: Calibration | None
    guaranteed: tuple[GuaranteedThreshold, ...] = ()
    latency_ms: LatencySummary | None
    size_bytes: int
    emulated: bool = False
    to_fp32: ToFp32 | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_released(self) -> bool:
        """Whether it belongs to the release; students that serve comparison only do not."""
        return self.model in ("teacher", "student")

    @property
    def label(self) -> str:
        """Its name in sentences."""
        state = "" if self.calibrated else " (uncalibrated)"
        return f"{self.model} {self.precision}{state} on {self.device}"


GateOutcome = Literal["passed", "failed", "undecided", "unmeasured"]


def gate_label(metric: str, of_class: str | None, threshold: float | None) -> str:
    """The short name of a gate: its metric, with the class or the threshold on confidence that it judges.

    >>> gate_label("top1_of_class", "cat", None), gate_label("coverage_shift", None, 0.8)
    ('top1_of_class cat', 'coverage_shift at 0.8')
    """
    threshold_text = "" if threshold is None else f"at {threshold:g}"
    return " ".join(filter(None, (metric, of_class, threshold_text)))


class GateResult(Record):
    """The result of one limit on one measurement."""

    metric: str
    threshold: float | None = Field(None, description="on confidence, where the metric has one")
    of_class: str | None = Field(None, description="the class, where the metric judges one class")
    measurement: str
    limit: str = Field(description="as text, such as `at most 1 %`")
    bound: dict[Literal["max", "min", "within"], float] = Field(
        default_factory=dict,
        description="the limit as a number, in the unit of `value`; empty in older files",
    )
    value: float | None
    low: float | None
    high: float | None
    level: float
    images: int | None = Field(
        None, description="behind the value; None where it is not over images, and in older files"
    )
    result: GateOutcome
    sentence: str
    needed: str | None = None

    @property
    def label(self) -> str:
        """Its name in sentences, without what it judges."""
        return gate_label(self.metric, self.of_class, self.threshold)


class Verdict(Record):
    """The outcome of all gates: failed beats undecided beats passed; an unmeasured gate fails."""

    verdict: Literal["passed", "failed", "undecided", "smoke"]
    gates: tuple[GateResult, ...]


class Recommendation(Record):
    """What to ship on a device with a runtime; the precision is None where nothing can be."""

    device: str
    runtime: str
    precision: str | None
    file: str | None
    sha256: str | None
    sentence: str = Field(description="what to ship, where, and why")
    others: tuple[str, ...] = Field(description="what each other precision would save and cost, or why not")
    runtimes: str = Field(
        "", description="what other runtimes of the device do, or that they were not measured; may be empty"
    )


class ThresholdShift(Record):
    """Coverage and precision at a threshold: the model minus its reference."""

    threshold: float
    coverage: Estimate
    precision: Estimate | None


class Shift(Record):
    """A precision minus fp32 on the same images, both calibrated in the same way.

    `none`: neither is calibrated; `of_fp32`: both have the map that was fitted to fp32; `own`: each has its
    own map, as shipped.
    """

    calibration: Literal["none", "of_fp32", "own"]
    nll: Estimate
    thresholds: tuple[ThresholdShift, ...]


class Drift(Record):
    """How a precision changes confidence, before and after its own calibration."""

    measurement: str
    images: int
    shifts: tuple[Shift, ...]


class ComparedMethod(Record):
    """Confidence under one calibration map, cross-fitted on the calibration split.

    `ships` is false for tables after the softmax, which no file can contain. They have no NLL, because they
    calibrate the predicted class alone.
    """

    method: str
    ships: bool
    images: int
    nll: Estimate | None
    ece: Estimate
    brier_toplabel: Estimate
    top1: Estimate


class Comparison(Record):
    """Every requested map on the confidence of one file; the first row is without a map."""

    measurement: str
    rows: tuple[ComparedMethod, ...]


class Change(Record):
    """What changed in a file since an earlier release, with bounds at `level`; None where it is not known.

    `metric` names the gate metric that would judge it; its unit and sign are that metric's.
    """

    measurement: str
    metric: str
    threshold: float | None = Field(None, description="on confidence, where the metric has one")
    value: float | None
    low: float | None
    high: float | None
    level: float = 0.95
    note: str = Field("", description="how it was compared, or why it was not")


class Baseline(Record):
    """The earlier release that a release is compared with."""

    name: str
    date: str = Field(description="of the earlier release, as its report has it")
    verdict: Literal["passed", "failed", "undecided", "smoke"]
    sentence: str = Field(description="which release, and on which images the two are compared")
    changes: tuple[Change, ...]


class PlannedStage(Record):
    """A line of the plan in the report."""

    stage: str
    fingerprint: str
    reused: bool
    seconds: float


class Report(Record):
    """The complete report.json."""

    schema_version: Literal[1] = 1
    name: str
    verdict: Literal["passed", "failed", "undecided", "smoke"]
    gates: tuple[GateResult, ...]
    recommendation: tuple[Recommendation, ...] = Field((), description="one for each device and runtime")
    measurements: tuple[Measurement, ...]
    devices: dict[str, DeviceFacts]
    conclusions: tuple[str, ...] = Field(
        description="sentences a reader needs: is int8 worth it, did calibration help"
    )
    drift: tuple[Drift, ...] = ()
    out_of_distribution: tuple[OutOfDistribution, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    baseline: Baseline | None = Field(None, description="the earlier release that this one is compared with")
    target_devices: tuple[str, ...] = Field(
        (), description="NAME:RUNTIME of the devices that `device: target` stands for"
    )
    coverage: tuple[CoverageCurve, ...] = Field((), description="of each calibrated file that was scored")
    training: dict[str, tuple[Epoch, ...]] = Field(
        default_factory=dict, description="of each trained model; long ones are thinned"
    )
    pictures: tuple[Pictures, ...] = ()
    plan: tuple[PlannedStage, ...]
    data: dict[str, Json]
    models: dict[str, Json]
    environment: dict[str, Json]
    recipe: dict[str, Json]
