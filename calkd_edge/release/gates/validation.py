"""Checks a recipe's gates before anything runs: metric, limit, threshold, precision, device."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.recipe.schema import DeviceSection, GateSection
from calkd_edge.release.gates.metric import Metric, bound_of
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.gates.readers import TOP5_IS_ALL

TARGET = "target"
"""Value of a gate's `device` that stands for the devices added with --device."""


def check_gates(
    gates: Sequence[GateSection],
    *,
    precisions: Collection[str] | None = None,
    devices: Iterable[DeviceSection] | None = None,
    classes: Collection[str] | None = None,
    where: str = "recipe",
) -> None:
    """Refuse gates that cannot work as written.

    Args:
        gates: of the recipe.
        precisions: names of the precisions that the recipe produces; None: not checked.
        devices: of the recipe; None: not checked.
        classes: names of the data's classes; None: not checked.
        where: the recipe's file, for the message.

    Raises:
        RecipeError: an unknown metric, precision, device or class, a limit in the wrong direction, a missing
            or superfluous threshold or class, fp32 compared with itself, or top5 of five classes or fewer.
    """
    known = None if devices is None else _device_names(devices)
    for index, gate in enumerate(gates):
        key = f"{where}: gates[{index}]"
        metric = METRICS.get(gate.metric)
        if metric is None:
            raise RecipeError(
                f"{key}.metric: no metric is named '{gate.metric}'",
                remedy=f"{did_you_mean(gate.metric, METRICS)}Valid: {', '.join(sorted(METRICS))}.",
            )
        _check_limit(gate, metric, key)
        _check_name("precision", gate.precision, precisions, key, "add it to precisions")
        _check_comparison(gate, metric, key)
        _check_name("device", gate.device, known, key, f"add it with --device {gate.device}")
        _check_name("of_class", gate.of_class, classes, key, "add images of it")
        if gate.metric == "top5" and classes is not None and len(classes) <= TOP5_IS_ALL:
            raise RecipeError(
                f"{key}.metric: top5 of {len(classes)} classes is always 100 %",
                remedy="Use top1.",
            )


def _device_names(devices: Iterable[DeviceSection]) -> list[str]:
    listed = list(devices)
    return list(dict.fromkeys([*(d.name for d in listed), *(d.label for d in listed), TARGET]))


def _check_limit(gate: GateSection, metric: Metric, key: str) -> None:
    ((limit, value),) = bound_of(gate).items()
    if limit not in metric.limits:
        raise RecipeError(
            f"{key}.{limit}: {gate.metric} ({metric.meaning}) cannot be limited by {limit}",
            remedy=f"Give {' or '.join(metric.limits)} instead of {limit}.",
        )
    if not metric.span.decides(limit, value):
        raise RecipeError(
            f"{key}.{limit}: {value:g} decides nothing: {gate.metric} is {metric.span} whatever is measured",
            remedy="Write a limit inside this range, at which a model could pass or fail."
            + (" 0.9 means 90 %." if metric.unit == "share" else ""),
        )
    if metric.threshold != (gate.threshold is not None):
        raise RecipeError(
            f"{key}.threshold: {gate.metric} {'needs' if metric.threshold else 'takes no'} threshold",
            remedy="Add threshold: 0.9 (the confidence from which an image counts)."
            if metric.threshold
            else "Remove threshold.",
        )
    if metric.of_class != (gate.of_class is not None):
        raise RecipeError(
            f"{key}.of_class: {gate.metric} {'needs' if metric.of_class else 'takes no'} class",
            remedy="Add of_class: NAME, one of the data's classes."
            if metric.of_class
            else "Remove of_class.",
        )


def _check_name(key: str, name: str | None, valid: Collection[str] | None, where: str, remedy: str) -> None:
    if valid is not None and name is not None and name not in valid:
        raise RecipeError(
            f"{where}.{key}: '{name}' is not among {', '.join(valid)}",
            remedy=f"{did_you_mean(name, valid)}Name one of these, or {remedy}.",
        )


def _check_comparison(gate: GateSection, metric: Metric, key: str) -> None:
    if gate.model == "teacher" and metric.against is not None:
        raise RecipeError(
            f"{key}.model: {gate.metric} compares a student with {metric.against}",
            remedy="Remove model: teacher.",
        )
    if metric.against == "fp32" and gate.precision == "fp32":
        raise RecipeError(
            f"{key}.precision: {gate.metric} would compare fp32 with itself",
            remedy="Name another precision, or none for all others.",
        )
