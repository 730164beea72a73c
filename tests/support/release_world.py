"""A small world for the release room: synthetic predictions, scored by the real metrics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from calkd_edge import metrics
from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import (
    AtThreshold,
    Calibration,
    Corrupted,
    DeviceFacts,
    Estimate,
    FoldProof,
    LatencySummary,
    Measurement,
    Percentile,
    Predictions,
    Quality,
    Reached,
    Unknown,
)
from calkd_edge.release.gates.evidence import DataFaults, Evidence

CLASSES = [
    "apple & pear",
    "<script>alert(1)</script>",
    "bee",
    "cat",
    "deer",
    "eel",
    "fox",
    "goat",
    "hen",
    "ibis",
]

THRESHOLDS = (0.5, 0.8)

_SCORED: dict[str, Quality] = {}


@dataclass(frozen=True)
class Maker:
    """Makes evidence: every model sees the same true `logits` and `labels` with more or less noise."""

    logits: np.ndarray
    labels: np.ndarray

    def predictions(
        self, *, noise: float = 0.0, sharp: float = 1.0, images: int | None = None, seed: int = 1
    ):
        n = images or len(self.labels)
        blur = np.random.default_rng(seed).normal(size=self.logits.shape) * noise
        values = ((self.logits + blur) * sharp)[:n].astype(np.float32)
        return Predictions(values, self.labels[:n], np.arange(n, dtype=np.int64))

    def evidence(
        self,
        predictions: Predictions,
        *,
        model: str = "student",
        precision: str = "fp32",
        calibrated: bool = True,
        device: str = "local",
        runtime: str = "onnxruntime",
        p50: float | None = 4.0,
        size: int = 9_400_000,
        temperature: float = 1.4,
        status: str = "ok",
        emulated: bool = False,
    ) -> Evidence:
        name = f"{model}.{precision}.onnx"
        measurement = Measurement(
            model=model,
            precision=precision,
            calibrated=calibrated,
            device=device,
            runtime=runtime,
            file=name,
            sha256=hashlib.sha256(name.encode()).hexdigest(),
            session_options={"intra_op_num_threads": 1},
            images=len(predictions.labels),
            quality=scored(predictions),
            calibration=calibration(temperature, status, len(predictions.labels)) if calibrated else None,
            latency_ms=latency(p50) if p50 is not None and calibrated else None,
            size_bytes=size,
            emulated=emulated,
        )
        faults = DataFaults(test_in_train=0.0, conflicting_labels=0.0)
        return Evidence(measurement, predictions, faults, tuple(CLASSES))


def scored(predictions: Predictions) -> Quality:
    """The real quality, computed once for equal predictions."""
    key = hashlib.sha256(predictions.logits.tobytes() + predictions.labels.tobytes()).hexdigest()
    if key not in _SCORED:
        _SCORED[key] = metrics.quality(predictions.logits, predictions.labels, thresholds=THRESHOLDS)
    return _SCORED[key]


def calibration(temperature: float, status: str, images: int) -> Calibration:
    fitted = status == "ok"
    proof = FoldProof(
        images=256,
        max_logit_difference=1.9e-6,
        tolerance=3.2e-5,
        max_probability_difference=2.4e-7,
        argmax_changes=0,
        near_ties=1,
    )
    return Calibration(
        method="temperature",
        scale=(1 / temperature if fitted else 1.0,),
        bias=(0.0,),
        temperature=temperature if fitted else 1.0,
        se=(0.021,) if fitted else None,
        status=status,
        split="calibration",
        images=images,
        nll_before=1.31,
        nll_after=1.12,
        fold="folded" if fitted else "none",
        proof=proof if fitted else None,
    )


def latency(p50: float, *, runs: int = 900, spread: float = 0.18, seed: int = 3) -> LatencySummary:
    series = p50 * np.exp(np.random.default_rng(seed).gamma(1.2, spread, size=runs)) * 0.87
    bounds = {q: intervals.quantile_bounds(series, q) for q in (0.5, 0.9, 0.95)}
    counts, edges = np.histogram(series, bins=48, range=(series.min(), np.quantile(series, 0.995)))
    p = {q: Percentile(value=f.value, low=f.low, high=f.high) for q, f in bounds.items()}
    return LatencySummary(
        p50=p[0.5],
        p90=p[0.9],
        p95=p[0.95],
        samples=runs,
        effective_samples=bounds[0.95].effective,
        mean_ms=float(series.mean()),
        steady=True,
        warmup_runs=60,
        warmup_seconds=2.1,
        load_ms=41.0,
        first_ms=9.5,
        threads=1,
        processes=3,
        profile="standard",
        measured_at="2026-10-04T10:12:00Z",
        histogram_edges_ms=tuple(float(edge) for edge in edges),
        histogram_counts=tuple(int(count) for count in counts),
    )


def facts(*, isa: tuple[str, ...] = ("avx2", "fma"), emulated: bool = False) -> DeviceFacts:
    return DeviceFacts(
        board="laptop",
        machine="x86_64",
        system="Linux 6.1",
        python="3.11.9",
        cpu="Some CPU @ 2.2 GHz",
        isa=isa,
        cores=2,
        memory_bytes=16_000_000_000,
        l4t=None,
        power_mode=None,
        emulated=emulated,
        runtimes={"onnxruntime": "1.32.0"},
        numpy="2.4.6",
    )


def make_maker(images: int, seed: int = 0) -> Maker:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, len(CLASSES))) * 2.6
    p = np.exp(scores.log_softmax(logits))
    labels = (p.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1).astype(np.int64)
    return Maker(logits, labels)


def other_images(*rows: tuple[Any, ...]) -> tuple[Corrupted, ...]:
    """Figures on corrupted images: corruption, severity, images, ECE, top-1 and perhaps mean confidence.

    Half of the images reach 0.8, and of these the share `top1` is right.
    """
    return tuple(
        Corrupted(
            corruption=name,
            severity=severity,
            images=images,
            top1=around(top1),
            nll=around(1.0),
            ece=around(ece),
            mean_confidence=confidence[0] if confidence else top1,
            thresholds=(
                AtThreshold(threshold=0.8, taken=images // 2, coverage=around(0.5), precision=around(top1)),
            ),
        )
        for name, severity, images, ece, top1, *confidence in rows
    )


def unknown(threshold: float, taken: int, images: int) -> Unknown:
    """Images of no class of which some reach a threshold."""
    share = intervals.clopper_pearson(taken, images)
    return Unknown(
        measurement="student",
        source="loose_images: 400 loose images",
        images=images,
        left_out=0,
        shared_classes=(),
        mean_confidence=0.4,
        auroc=0.9,
        thresholds=(Reached(threshold=threshold, share=Estimate(**share._asdict())),),
    )


def around(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01)
