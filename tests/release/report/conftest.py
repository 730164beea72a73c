"""A report with everything that a page can show."""

from __future__ import annotations

import numpy as np
import pytest
from release_world import THRESHOLDS

from calkd_edge.pipeline.shown import coverage
from calkd_edge.records import Corrupted, Epoch, OutOfDistribution, Report
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report.pictures import pictures


def noise(rows):
    """Images of the worst size: nothing in them can be compressed."""
    shape = (len(rows), 3, 64, 64)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="session")
def full_report(report: Report, world) -> Report:
    labels = labels_of(report.measurements)
    calibrated = [
        (item, label) for item, label in zip(world, labels, strict=True) if item.measurement.calibrated
    ]
    return report.model_copy(
        update={
            "coverage": coverage(calibrated),
            "training": {
                model: tuple(
                    Epoch(epoch=k, loss=3 / (k + 1), top1=1 - 0.5**k, nll=None) for k in range(epochs)
                )
                for model, epochs in (("teacher", 30), ("student", 1))
            },
            "pictures": pictures(world, report.recommendation, noise),
            "out_of_distribution": tuple(
                corrupted(item.measurement, label) for item, label in calibrated[1:3]
            ),
            "environment": {
                **report.environment,
                "date": "2026-10-04T10:12:00+00:00",
                "commit": "0123456789ab",
                "versions": {"calkd-edge": "0.1.0"},
            },
        }
    )


def corrupted(m, label):
    q = m.quality
    figures = {"images": 500, "top1": q.top1, "nll": q.nll, "ece": q.ece, "thresholds": q.thresholds}
    kinds = [("none", 0), *((name, k) for name in ("blur", "noise") for k in (1, 2, 3))]
    rows = tuple(
        Corrupted(corruption=name, severity=k, mean_confidence=q.mean_confidence, **figures)
        for name, k in kinds
    )
    assert [row.threshold for row in q.thresholds] == list(THRESHOLDS)
    return OutOfDistribution(measurement=label, rows=rows)
