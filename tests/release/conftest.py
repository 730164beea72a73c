"""Fixtures of the release room: one small world, scored once."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from release_world import CLASSES, THRESHOLDS, Maker, facts, make_maker

from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import PlannedStage, Report
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.recommendation import recommendations
from calkd_edge.release.report.conclusions import conclusions
from calkd_edge.release.report.drift import drift


@pytest.fixture(scope="session")
def maker() -> Maker:
    return make_maker(4000)


@pytest.fixture(scope="session")
def world(maker: Maker) -> list[Evidence]:
    """Teacher and student in three precisions, with their uncalibrated rows."""
    out = []
    for model, precision, noise, p50, size, seed in (
        ("teacher", "fp32", 0.0, 22.0, 94_000_000, 1),
        ("student", "fp32", 0.5, 4.0, 9_400_000, 2),
        ("student", "fp16", 0.501, 4.3, 4_800_000, 2),
        ("student", "int8", 0.56, 2.9, 2_600_000, 2),
    ):
        raw = maker.predictions(noise=noise, sharp=1.7, seed=seed)
        beta = best_inverse_temperature(raw.logits, raw.labels).beta
        scaled = replace(raw, logits=(raw.logits * beta).astype(np.float32))
        out.append(maker.evidence(raw, model=model, precision=precision, calibrated=False, size=size))
        shipped = {"model": model, "precision": precision, "p50": p50, "size": size, "temperature": 1 / beta}
        out.append(maker.evidence(scaled, **shipped))
    return out


@pytest.fixture(scope="session")
def report(world: list[Evidence]) -> Report:
    gates = [
        GateSection(metric="top1", min=0.5),
        GateSection(metric="top1_drop", max=0.03, precision="int8"),
        GateSection(metric="top1_drop", max=0.003, precision="fp16"),
        GateSection(metric="nll_rise", max=0.05),
        GateSection(metric="ece", max=0.05),
        GateSection(metric="coverage_shift", within=0.02, threshold=0.8),
        GateSection(metric="latency_p95_ms", max=8.0),
        GateSection(metric="size_bytes", max=10_000_000),
    ]
    devices = {"local": facts()}
    verdict = judge(gates, world)
    return Report(
        name="mobilenet_cifar100",
        verdict=verdict.verdict,
        gates=verdict.gates,
        recommendation=recommendations(
            [item.measurement for item in world], verdict.gates, verdict.verdict, devices
        ),
        measurements=tuple(item.measurement for item in world),
        devices=devices,
        conclusions=conclusions(world, devices=devices),
        drift=drift(world, THRESHOLDS),
        plan=tuple(
            PlannedStage(
                stage=stage, fingerprint=hashlib.sha256(stage.encode()).hexdigest(), reused=r, seconds=s
            )
            for stage, r, s in (
                ("prepare", True, 12.0),
                ("teacher", True, 9120.0),
                ("soft_labels", True, 310.5),
                ("distill", False, 6230.0),
                ("export", False, 3.9),
                ("quantize int8", False, 48.1),
                ("evaluate int8 @ local", False, 31.7),
                ("benchmark int8 @ local", False, 190.2),
            )
        ),
        data={"name": "synthetic", "classes": CLASSES, "root": "/somewhere/<b>data</b>", "duplicates": 10},
        models={"teacher": {"name": "resnet56", "parameters": 860_000}, "student": {"name": "mobilenet_v2"}},
        environment={"python": "3.11.9", "torch": "2.14.1", "onnxruntime": "1.32.0"},
        recipe={
            "version": 1,
            "name": "mobilenet_cifar100",
            "seed": 17,
            "precisions": ["fp32", "fp16", "int8"],
        },
    )
