"""Records that rooms exchange and write to files: plain, frozen, validated values.

In scope: fields, their JSON and npz forms. Out of scope: computing, scoring, deciding; torch and onnx.
Fractions are 0..1, times carry their unit in the name, `logits` are raw scores and `probabilities` come after
softmax.
"""

from calkd_edge.records.base import BoolArray, FloatArray, IntArray, Json, Record
from calkd_edge.records.benchmark import (
    AgainstBaseline,
    Benchmark,
    OnDevice,
    Paced,
    Ratio,
    Soak,
    SpentSeconds,
    TimedFile,
    TimedSource,
    Worth,
)
from calkd_edge.records.calibration import Affine, AffineKind, Calibration, FitStatus, FoldProof
from calkd_edge.records.components import Component, LossComponent
from calkd_edge.records.doctor import (
    ClockFacts,
    DoctorReport,
    Interpreter,
    Jetson,
    MachineFacts,
    Runnable,
    Symptom,
)
from calkd_edge.records.energy import Energy
from calkd_edge.records.lint import Compilation, Finding, Lint, Severity, Target
from calkd_edge.records.predictions import Predictions
from calkd_edge.records.quality import (
    AtThreshold,
    ClassFigures,
    ConfidenceFigures,
    Confused,
    Estimate,
    Evaluation,
    Quality,
    ReliabilityBin,
)
from calkd_edge.records.release import (
    ComparedMethod,
    Comparison,
    Corrupted,
    DeviceFacts,
    Drift,
    GateOutcome,
    GateResult,
    LatencySummary,
    Measurement,
    OutOfDistribution,
    Percentile,
    PlannedStage,
    Report,
    Shift,
    ThresholdShift,
    Verdict,
)
from calkd_edge.records.repair import FileEnd, Repair, RepairedFile

__all__ = [
    "Component",
    "LossComponent",
    "Evaluation",
    "AgainstBaseline",
    "Benchmark",
    "OnDevice",
    "Paced",
    "Ratio",
    "Soak",
    "SpentSeconds",
    "TimedFile",
    "TimedSource",
    "Worth",
    "ComparedMethod",
    "Comparison",
    "Corrupted",
    "OutOfDistribution",
    "FileEnd",
    "Compilation",
    "Finding",
    "Lint",
    "Severity",
    "Target",
    "Repair",
    "RepairedFile",
    "Drift",
    "Shift",
    "ThresholdShift",
    "Affine",
    "AffineKind",
    "AtThreshold",
    "ClassFigures",
    "BoolArray",
    "Calibration",
    "ClockFacts",
    "ConfidenceFigures",
    "Confused",
    "DeviceFacts",
    "DoctorReport",
    "Energy",
    "Estimate",
    "FitStatus",
    "FloatArray",
    "FoldProof",
    "GateOutcome",
    "GateResult",
    "IntArray",
    "Interpreter",
    "Jetson",
    "Json",
    "LatencySummary",
    "MachineFacts",
    "Measurement",
    "Percentile",
    "PlannedStage",
    "Predictions",
    "Quality",
    "Record",
    "ReliabilityBin",
    "Report",
    "Runnable",
    "Symptom",
    "Verdict",
]
