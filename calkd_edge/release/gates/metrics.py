"""The gate metrics that a recipe may name.

A new one is a function (`metric.Reader`) in its own file and one line here. A plugin module adds
`METRICS["name"] = Metric(...)`.
"""

from __future__ import annotations

import math
from typing import Literal

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates import baseline_readers as since
from calkd_edge.release.gates import paired_readers as pairs
from calkd_edge.release.gates import robustness_readers as robust
from calkd_edge.release.gates.metric import Accuracy, Against, Metric, Reader, Span
from calkd_edge.release.gates.readers import (
    data_fault,
    latency,
    over_classes,
    quality,
    recall_of_class,
    size,
    temperature_status,
    top5,
)
from calkd_edge.release.gates.to_fp32 import kl_to_fp32

_MEAN, _ECE = intervals.FEWEST_IMAGES_FOR_A_MEAN, intervals.FEWEST_IMAGES_FOR_ECE
_SHARE, _CHANGE = Span(0, 1), Span(-1, 1)
_ERROR, _POSITIVE = Span(0, 1, reaches_low=False), Span(0, reaches_low=False)


def _share(read: Reader, meaning: str, *, of_class: bool = False) -> Metric:
    return Metric(read, ("min",), "share", meaning, of_class=of_class, span=_SHARE, accuracy="alone")


def _mean_score(field: str, meaning: str, most: float = math.inf) -> Metric:
    span = Span(0, most, reaches_low=False)
    read = quality(field, fewest=_MEAN)
    return Metric(read, ("max",), "nats", meaning, fewest=_MEAN, span=span, accuracy="alone")


def _calibration_error(field: str, meaning: str) -> Metric:
    read = quality(field, fewest=_ECE)
    return Metric(read, ("max",), "share", meaning, kind="ece", fewest=_ECE, span=_ERROR)


def _data_fault(field: str, meaning: str) -> Metric:
    return Metric(data_fault(field), ("max",), "share", meaning, kind="exact", span=_SHARE)


def _latency(field: str, meaning: str) -> Metric:
    return Metric(latency(field), ("max",), "ms", meaning, kind="runs", span=_POSITIVE)


def _top1_drop(reference: Against, meaning: str) -> Metric:
    read, accuracy = pairs.against(reference, pairs.top1_drop), _accuracy(reference)
    return Metric(
        read, ("max", "within"), "share", meaning, reference, kind="pair", span=_CHANGE, accuracy=accuracy
    )


def _rise(reference: Against, read_pair: pairs.PairReader, meaning: str, most: float = math.inf) -> Metric:
    read = pairs.against(reference, read_pair, fewest=_MEAN)
    span, accuracy = Span(-most, most), _accuracy(reference)
    return Metric(
        read, ("max", "within"), "nats", meaning, reference, fewest=_MEAN, span=span, accuracy=accuracy
    )


def _accuracy(reference: Against) -> Accuracy:
    return "beside fp32" if reference == "fp32" else "alone"


def _wrong(read: Reader, meaning: str, *, other_images: bool = False) -> Metric:
    return Metric(read, ("max",), "share", meaning, threshold=True, span=_SHARE, other_images=other_images)


def _ratio(read: Reader, kind: Literal["runs", "exact"], meaning: str) -> Metric:
    return Metric(read, ("max",), "plain", meaning, "baseline", kind=kind, span=_POSITIVE)


def _shift_from_baseline(figure: since.Figure, read_pair: pairs.PairReader, meaning: str) -> Metric:
    read = since.change(figure, read_pair)
    return Metric(read, ("within",), "share", meaning, "baseline", threshold=True, kind="pair", span=_CHANGE)


METRICS: dict[str, Metric] = {
    "top1": _share(quality("top1"), "share of images whose first guess is right"),
    "top5": _share(top5, "share with the label among the first five guesses"),
    "balanced_accuracy": _share(
        over_classes("balanced_accuracy"), "mean over classes of the share recognised"
    ),
    "recall_worst_class": _share(
        over_classes("worst_recall"), "lowest share of any class that is recognised"
    ),
    "top1_of_class": _share(recall_of_class, "share of a class's images that are recognised", of_class=True),
    "nll": _mean_score("nll", "mean negative log-likelihood of the labels"),
    "brier": _mean_score("brier", "mean squared error of the probabilities, 0..2", most=2),
    "ece": _calibration_error("ece", "expected calibration error"),
    "ece_over": _calibration_error("ece_over", "the overconfident part of ECE"),
    "ece_under": _calibration_error("ece_under", "the underconfident part of ECE"),
    "ace_classwise": _calibration_error("ace_classwise", "calibration error of every class"),
    "ace_toplabel": _calibration_error("ace_toplabel", "calibration error, equal-mass bins"),
    "temperature_status": Metric(
        temperature_status,
        ("max",),
        "plain",
        "1 when no temperature could be fitted",
        kind="exact",
        span=_SHARE,
    ),
    "latency_p50_ms": _latency("p50", "median time of one image"),
    "latency_p90_ms": _latency("p90", "time within which 90 % of runs end"),
    "latency_p95_ms": _latency("p95", "time within which 95 % of runs end"),
    "size_bytes": Metric(size, ("max",), "bytes", "size of the file that runs", kind="exact", span=_POSITIVE),
    "test_in_train": _data_fault("test_in_train", "share of test images that were trained or fitted on"),
    "conflicting_labels": _data_fault("conflicting_labels", "share of images under two labels or more"),
    "top1_drop": _top1_drop("fp32", "top-1 lost against fp32, same images"),
    "nll_rise": _rise("fp32", pairs.nll_rise, "NLL gained against fp32, same images"),
    "brier_rise": _rise("fp32", pairs.brier_rise, "Brier gained against fp32, same images", most=2),
    "top1_drop_from_teacher": _top1_drop("teacher", "top-1 lost against the teacher"),
    "nll_rise_from_teacher": _rise("teacher", pairs.nll_rise, "NLL gained against the teacher"),
    "coverage_shift": Metric(
        pairs.against("fp32", pairs.coverage_shift),
        ("within",),
        "share",
        "change of the share of images that reach the threshold",
        "fp32",
        threshold=True,
        kind="pair",
        span=_CHANGE,
    ),
    "precision_shift": Metric(
        pairs.against("fp32", pairs.precision_shift),
        ("within",),
        "share",
        "change of top-1 among the images that reach the threshold",
        "fp32",
        threshold=True,
        span=_CHANGE,
    ),
    "agreement": Metric(
        pairs.against("fp32", pairs.agreement),
        ("min",),
        "share",
        "share of images with the same first guess as fp32",
        "fp32",
        span=_SHARE,
        accuracy="beside fp32",
    ),
    "kl_to_fp32": Metric(
        kl_to_fp32,
        ("max",),
        "divergence",
        "mean Kullback-Leibler divergence of the probabilities from fp32's, same images",
        "fp32",
        fewest=_MEAN,
        span=_POSITIVE,
        accuracy="beside fp32",
    ),
    "ece_corrupted": Metric(
        robust.ece_corrupted,
        ("max",),
        "share",
        "largest ECE under any corruption",
        kind="ece",
        fewest=_ECE,
        span=_ERROR,
        other_images=True,
    ),
    "confident_wrong": _wrong(robust.confident_wrong, "share answered wrongly at or above the threshold"),
    "confident_wrong_corrupted": _wrong(
        robust.confident_wrong_corrupted,
        "largest share answered wrongly at or above the threshold under any corruption",
        other_images=True,
    ),
    "confident_unknown": _wrong(
        robust.confident_unknown,
        "share of images of no class that reach the threshold",
        other_images=True,
    ),
    "top1_drop_from_baseline": Metric(
        since.change(since.named("top1"), pairs.top1_drop, sign=-1),
        ("max", "within"),
        "share",
        "top-1 lost against an earlier release",
        "baseline",
        kind="pair",
        span=_CHANGE,
        accuracy="alone",
    ),
    "nll_rise_from_baseline": Metric(
        since.change(since.named("nll"), pairs.nll_rise, fewest=_MEAN),
        ("max", "within"),
        "nats",
        "NLL gained against an earlier release",
        "baseline",
        fewest=_MEAN,
        accuracy="alone",
    ),
    "ece_rise_from_baseline": Metric(
        since.change(since.named("ece"), fewest=_ECE),
        ("max", "within"),
        "share",
        "ECE gained against an earlier release",
        "baseline",
        fewest=_ECE,
        span=_CHANGE,
    ),
    "recall_worst_class_drop_from_baseline": Metric(
        since.change(since.named("worst_recall"), sign=-1),
        ("max", "within"),
        "share",
        "lost by the class that is recognised worst, against an earlier release",
        "baseline",
        span=_CHANGE,
    ),
    "coverage_shift_from_baseline": _shift_from_baseline(
        since.coverage, pairs.coverage_shift, "change of coverage at the threshold since an earlier release"
    ),
    "precision_shift_from_baseline": _shift_from_baseline(
        since.precision,
        pairs.precision_shift,
        "change of precision at the threshold since an earlier release",
    ),
    "latency_ratio_from_baseline": _ratio(
        since.latency_ratio, "runs", "median time of one image over that of an earlier release"
    ),
    "size_ratio_from_baseline": _ratio(
        since.size_ratio, "exact", "size of the file over that of an earlier release"
    ),
}
"""Metric by name."""


def compares_releases(gate: GateSection) -> bool:
    """Whether a gate compares with an earlier release."""
    metric = METRICS.get(gate.metric)
    return metric is not None and metric.against == "baseline"
