"""A benchmark.json that can be had without timing anything, and a short load for those that are timed."""

from __future__ import annotations

from typing import Any

import numpy as np

from calkd_edge.metrics.latency import latency_summary
from calkd_edge.records import Benchmark, DeviceFacts, Energy, Estimate, SpentSeconds, TimedFile, TimedSource

SHORT = {
    "min_runs": 200,
    "min_seconds": 0.2,
    "warmup_min_runs": 5,
    "warmup_min_seconds": 0.05,
    "warmup_max_seconds": 0.3,
    "warmup_window_seconds": 0.02,
}
FACTS = DeviceFacts(
    board="a board",
    machine="aarch64",
    system="Linux",
    python="3.10.0",
    cpu="a processor",
    isa=("asimddp",),
    cores=6,
    memory_bytes=8 << 30,
    l4t=None,
    power_mode="15W",
    emulated=False,
    runtimes={"onnxruntime": "1.20.0", "tensorrt": "10.3.0"},
    numpy="1.26.0",
)


def series(centre: float, seed: int = 0, count: int = 1000) -> np.ndarray:
    """Milliseconds of a process."""
    return centre + np.random.default_rng(seed).gamma(2.0, 0.01 * centre, count)


def file(precision: str = "fp32", centre: float = 2.0, **more: Any) -> TimedFile:
    """One precision whose median is about `centre` milliseconds."""
    timed = latency_summary(
        [series(centre)],
        steady=True,
        warmup_runs=10,
        warmup_seconds=1.0,
        load_ms=30.0,
        first_ms=5.0,
        threads=1,
        profile="quick",
        measured_at="2025-01-01T00:00:00+00:00",
    )
    values: dict[str, Any] = {
        "precision": precision,
        "file": f"student.{precision}.onnx",
        "sha256": "0" * 64,
        "source_sha256": "0" * 64,
        "size_bytes": 1_000_000 if precision == "fp32" else 300_000,
        "session_options": {},
        "built": None,
        "emulated": False,
        "latency_ms": timed,
        "p99": None,
        "infer_ms": None,
        "paced": None,
        "soak": None,
        "energy": None,
        "peak_memory_bytes": 60_000_000,
        "throttled": (),
        "top1": Estimate(value=0.7, low=0.68, high=0.72),
        "ece": None,
    }
    return TimedFile(**{**values, **more})


def energy(joules: float, net: float | None) -> Energy:
    """Of one inference."""
    return Energy(
        rails=("VDD_IN",),
        seconds=3.0,
        joules=1000 * joules,
        mean_w=5.0,
        idle_w=3.0,
        net_joules=None if net is None else 1000 * net,
        inferences=1000,
        joules_per_inference=joules,
        net_joules_per_inference=net,
    )


def benchmark(**more: Any) -> Benchmark:
    """A benchmark of fp32 and int8."""
    values: dict[str, Any] = {
        "source": TimedSource(kind="run", path="/nowhere/run"),
        "device": "jetson",
        "runtime": "tensorrt",
        "runtime_version": "10.3.0",
        "profile": "quick",
        "processes": 1,
        "threads": 1,
        "rate_hz": None,
        "soak_s": None,
        "facts": FACTS,
        "images": "64 test images",
        "files": (file("fp32"), file("int8", 1.0)),
        "worth": (),
        "recommended": None,
        "baseline": None,
        "against": (),
        "warnings": (),
        "seconds": SpentSeconds(whole=10, timed=6, warmup=2, idle=0, building=0, overhead=2),
        "measured_at": "2025-01-01T00:00:00+00:00",
        "samples_sha256": "0" * 64,
    }
    return Benchmark(**{**values, **more})
