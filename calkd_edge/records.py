"""The nouns that cross a wall of the house: plain, frozen, validated values.

In scope: shapes of facts, their JSON and npz forms. Out of scope: computing, scoring, deciding; torch and
onnx.
Fractions are 0..1, times carry their unit in the name, `logits` are raw scores and `probabilities` come after
softmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Json = JsonValue

REPORT_SCHEMA_VERSION = 1


class Record(BaseModel):
    """A frozen value that refuses unknown keys; its schema is what a reader of its JSON may rely on."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


@dataclass(frozen=True)
class Predictions:
    """What a model said about labelled images, image by image.

    Attributes:
        logits: [N, C] float32, raw scores as the model returned them.
        labels: [N] int64.
        indices: [N] int64, position of each image in the prepared data: two models are compared only where
        equal.
        probabilities: [N, C] float32 as the model returned them, or None when only logits were kept.
    """

    logits: FloatArray
    labels: IntArray
    indices: IntArray
    probabilities: FloatArray | None = None

    def save(self, path: Path) -> None:
        """Write an uncompressed .npz; `probabilities` is left out when None."""
        arrays = {"logits": self.logits, "labels": self.labels, "indices": self.indices}
        if self.probabilities is not None:
            arrays["probabilities"] = self.probabilities
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub wants a bool for every keyword

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            probabilities = stored.get("probabilities")
            return cls(stored["logits"], stored["labels"], stored["indices"], probabilities)


class Affine(Record):
    """A calibration: calibrated logits = logits * scale + bias (or logits @ scale.T + bias for a matrix).

    `scale` has length 1 (a temperature, 1/T), C (a vector) or C*C (a matrix, row-major); `bias` has length 1
    or C.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...] = (0.0,)

    @property
    def is_identity(self) -> bool:
        """Whether applying it changes nothing."""
        return self.temperature == 1.0

    @property
    def temperature(self) -> float | None:
        """T when this is a temperature and nothing else, None otherwise."""
        plain = len(self.scale) == 1 and all(b == 0.0 for b in self.bias) and self.scale[0] > 0
        return 1.0 / self.scale[0] if plain else None

    def apply(self, logits: FloatArray) -> FloatArray:
        """Calibrated logits, float64 [N, C], for logits [N, C]."""
        values = np.asarray(logits, dtype=np.float64)
        scale, bias = np.asarray(self.scale), np.asarray(self.bias)
        result: FloatArray = (
            values * scale + bias if not self._is_matrix(values) else values @ self._matrix + bias
        )
        return result

    def undo(self, calibrated: FloatArray) -> FloatArray:
        """The logits that `apply` would have turned into `calibrated`, float64 [N, C]."""
        values = np.asarray(calibrated, dtype=np.float64) - np.asarray(self.bias)
        if self._is_matrix(values):
            result: FloatArray = np.linalg.solve(self._matrix.T, values.T).T
        else:
            result = values / np.asarray(self.scale)
        return result

    def _is_matrix(self, values: FloatArray) -> bool:
        return len(self.scale) > 1 and len(self.scale) == values.shape[1] ** 2

    @property
    def _matrix(self) -> FloatArray:
        """[C, C], to be multiplied from the right."""
        size = math.isqrt(len(self.scale))
        return np.array(self.scale, dtype=np.float64).reshape(size, size).T


class Estimate(Record):
    """A measured value with its one-sided bounds, each at confidence `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95


class ReliabilityBin(Record):
    """One bin of a reliability diagram, (low_edge, high_edge], with Wilson bounds on its accuracy."""

    low_edge: float
    high_edge: float
    images: int
    mean_confidence: float | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


class Quality(Record):
    """How right a model is and how well its confidence says so, on one set of images.

    `ece_floor` is the ECE that a perfectly calibrated model with these confidences would show by chance;
    `temperature_gap` is NLL - NLL at the best temperature, cross-fitted: what one temperature could still
    mend.
    """

    images: int
    top1: Estimate
    top5: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate
    ece_over: Estimate
    ece_under: Estimate
    ace_classwise: Estimate
    ace_toplabel: Estimate
    ece_floor: float
    temperature_gap: float
    mean_confidence: float
    bins: int
    reliability: tuple[ReliabilityBin, ...]
    confidence_histogram: tuple[int, ...] = Field(description="images per 1/20 of confidence, (a, b]")


FitStatus = Literal["ok", "separable", "anti", "flat", "extreme", "constant"]


class Calibration(Record):
    """How a model's confidence was calibrated: the affine that was fitted and what it rests on.

    `status` other than ok (or constant, where nothing was fitted) means that `scale` and `bias` are the
    identity.
    `se` is the standard error of T (temperature) or of each scale (vector); None where nothing was fitted.
    `fold` says how it entered the file; `proof` holds the largest departure from dividing by hand.
    """

    method: str
    scale: tuple[float, ...]
    bias: tuple[float, ...]
    temperature: float | None
    se: tuple[float, ...] | None
    status: FitStatus
    split: str
    images: int
    nll_before: float
    nll_after: float
    warnings: tuple[str, ...] = ()
    fold: Literal["folded", "nodes_appended", "none"] = "none"
    proof: FoldProof | None = None

    @property
    def affine(self) -> Affine:
        """The map itself."""
        return Affine(scale=self.scale, bias=self.bias)


class FoldProof(Record):
    """What executing the folded file showed against applying the affine by hand, on real images."""

    images: int
    max_logit_difference: float
    tolerance: float
    max_probability_difference: float
    argmax_changes: int
    near_ties: int


class Percentile(Record):
    """A latency percentile with distribution-free bounds; None where the sample cannot carry them."""

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
    level: float = 0.95
    histogram_edges_ms: tuple[float, ...] = ()
    histogram_counts: tuple[int, ...] = ()


class DeviceFacts(Record):
    """What the agent's probe saw on a device; the same record on a laptop and on a board."""

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


class Measurement(Record):
    """One model in one precision on one device: the file that ran, its quality and its latency."""

    model: Literal["teacher", "student"]
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
    latency_ms: LatencySummary | None
    size_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How a sentence names it."""
        state = "" if self.calibrated else " (uncalibrated)"
        return f"{self.model} {self.precision}{state} on {self.device}"


GateOutcome = Literal["passed", "failed", "undecided", "unmeasured"]


class GateResult(Record):
    """What became of one limit on one measurement."""

    metric: str
    measurement: str
    limit: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    result: GateOutcome
    sentence: str
    needed: str | None = None


class Verdict(Record):
    """The outcome of all gates: failed beats undecided beats passed; an unmeasured gate fails."""

    verdict: Literal["passed", "failed", "undecided", "smoke"]
    gates: tuple[GateResult, ...]


class PlannedStage(Record):
    """One line of the plan as the report shows it."""

    stage: str
    fingerprint: str
    reused: bool
    seconds: float


class Report(Record):
    """report.json, whole."""

    schema_version: Literal[1] = 1
    name: str
    verdict: Literal["passed", "failed", "undecided", "smoke"]
    gates: tuple[GateResult, ...]
    measurements: tuple[Measurement, ...]
    devices: dict[str, DeviceFacts]
    conclusions: tuple[str, ...] = Field(
        description="sentences a reader needs: does int8 pay, did calibration help"
    )
    plan: tuple[PlannedStage, ...]
    data: dict[str, Json]
    models: dict[str, Json]
    environment: dict[str, Json]
    recipe: dict[str, Json]


Calibration.model_rebuild()
