"""The YAML head of README.md, as the Hugging Face Hub reads it; yaml.safe_load reads it too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from calkd_edge.records import Json, Measurement, Report
from calkd_edge.release.report.report import JSON_NAME

TASK = "image-classification"
LICENSES = ("mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")
"""Licences that begin the data's terms of use and that the Hub knows by this name."""

DATASETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist_small": "zalando-datasets/fashion_mnist",
}
"""Data sets of recipes by their name on the Hub."""


def head(report: Report) -> str:
    """The head between its two lines of dashes.

    Its licence is that of the data, the only terms a run knows; the model's publisher may set another.
    """
    tree = {
        "license": _license(str(report.data.get("license", ""))),
        "library_name": "onnx",
        "pipeline_tag": TASK,
        "tags": [
            "calkd-edge",
            "onnx",
            "knowledge-distillation",
            "confidence-calibration",
            *_precisions(report),
        ],
        "datasets": [DATASETS[name] for name in [_data_name(report)] if name in DATASETS],
        "base_model": _base_models(report),
        "metrics": ["accuracy", "expected_calibration_error", "negative_log_likelihood"],
        "model-index": [{"name": report.name, "results": list(_results(report))}],
    }
    kept = {key: value for key, value in tree.items() if value}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=110)}---\n"


def _license(terms: str) -> str:
    first = re.split(r"[,;: ]", terms.lower(), maxsplit=1)[0]
    return first if first in LICENSES else "unknown"


def _precisions(report: Report) -> list[str]:
    rows = [row.precision for row in report.measurements if row.model == "student"]
    return list(dict.fromkeys(rows))


def _section(report: Report, name: str) -> dict[str, Json]:
    section = report.recipe.get(name)
    return section if isinstance(section, dict) else {}


def _data_name(report: Report) -> str:
    return str(_section(report, "data").get("name", report.data.get("name", "images")))


def _base_models(report: Report) -> list[str]:
    """Published weights that teacher or student began from, where the recipe has their name on the Hub."""
    sections = [_section(report, name) for name in ("teacher", "student")]
    names = [
        str(section.get("architecture", ""))
        for section in sections
        if section.get("name") == "timm" and section.get("pretrained")
    ]
    return list(dict.fromkeys(f"timm/{name}" for name in names if "." in name))  # a tag names one file


def _results(report: Report) -> Iterator[dict[str, Any]]:
    """One result for each shipped file and device."""
    name = _data_name(report)
    for row in report.measurements:
        if row.model != "student" or not row.calibrated or row.quality is None:
            continue
        yield {
            "task": {"type": TASK, "name": f"{row.file} on {row.device} with {row.runtime}"},
            "dataset": {"name": name, "type": DATASETS.get(name, name), "split": "test"},
            "metrics": _metrics(row),
            "source": {"name": f"{JSON_NAME} of this bundle", "url": JSON_NAME},
        }


def _metrics(row: Measurement) -> list[dict[str, Any]]:
    quality, latency = row.quality, row.latency_ms
    figures: list[tuple[str, str, float | None]] = []
    if quality is not None:
        figures = [
            ("accuracy", "Top-1", quality.top1.value),
            ("expected_calibration_error", "ECE", quality.ece.value),
            ("negative_log_likelihood", "NLL (nats)", quality.nll.value),
        ]
    if latency is not None and not row.emulated:
        figures.append(("latency", "Latency of one image, p50 (ms)", latency.p50.value))
    return [
        {"type": kind, "name": name, "value": value} for kind, name, value in figures if value is not None
    ]
