"""Metric, limit and interval become passed, failed or undecided; what was not measured fails.

A gate has passed when its whole interval lies inside the limit, failed when it lies wholly outside;
anything else is undecided, with what would decide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import GateOutcome, GateResult, Verdict
from calkd_edge.release.gates.evidence import Evidence, labels_of
from calkd_edge.release.gates.learnt import shown_nothing
from calkd_edge.release.gates.metric import Metric, Reading, bound_of
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.gates.sample_size import required_sample
from calkd_edge.release.gates.unjudged import unjudged
from calkd_edge.release.gates.validation import TARGET, check_gates
from calkd_edge.release.report.numbers import in_unit, interval, limit_in_unit

MOST_COPIES = 0.01
"""Of the test images: with more copies among them, no gate that counts images passes."""


def judge(
    gates: Sequence[GateSection],
    evidence: Sequence[Evidence],
    *,
    smoke: bool = False,
    target_devices: Sequence[str] = (),
) -> Verdict:
    """The outcome of every gate on every measurement it applies to, and the verdict over all of them.

    A measurement that ships without a fitted temperature is undecided even when no gate names it. So is a
    student that is not surely better than naming one class, and a file whose accuracy no gate judged on any
    device.
    Where test images are copies of one another, they are fewer than counted: what passes is undecided.

    Args:
        gates: of the recipe.
        evidence: all measurements; only calibrated ones are judged.
        smoke: the verdict is `smoke`, whatever the gates say.
        target_devices: NAME:RUNTIME of each device added for this run, or NAME for all its runtimes. Gates
            with `device: target` apply to these; a device without evidence makes a gate unmeasured.

    Raises:
        RecipeError: a gate cannot work as written (see `check_gates`).
    """
    check_gates(gates)
    names = dict(zip(map(id, evidence), labels_of([item.measurement for item in evidence]), strict=True))
    results: list[GateResult] = []
    for gate in gates:
        matching = [item for item in evidence if _applies(gate, item, target_devices)]
        results += [_judge_measurement(gate, item, evidence, names[id(item)]) for item in matching]
        results += [_unmeasured(gate, device) for device in _missing(gate, matching, target_devices)]
    results += _failed_fits(gates, evidence, names, target_devices)
    results += shown_nothing(evidence, names)
    if _worst(result.result for result in results) == "passed":
        results += unjudged(gates, evidence, names, results)
    return Verdict(
        verdict="smoke" if smoke else _worst(result.result for result in results), gates=tuple(results)
    )


def _applies(gate: GateSection, item: Evidence, target_devices: Sequence[str]) -> bool:
    m, metric = item.measurement, METRICS[gate.metric]
    if not m.calibrated or m.model != gate.model or gate.precision not in (None, m.precision):
        return False
    if metric.against == "fp32" and m.precision == "fp32":
        return False
    if gate.device is None:
        return True
    devices = target_devices if gate.device == TARGET else (gate.device,)
    return any(_is_on(item, device) for device in devices)


def _is_on(item: Evidence, device: str) -> bool:
    """Whether it was measured there; `device` is NAME or NAME:RUNTIME."""
    m = item.measurement
    return device in (m.device, f"{m.device}:{m.runtime}")


def _missing(gate: GateSection, matching: Sequence[Evidence], target_devices: Sequence[str]) -> list[str]:
    """Devices that the gate covers without any measurement; a target gate without targets covers none."""
    if gate.device == TARGET:
        expected = list(target_devices)
    elif gate.device is None:
        expected = list(target_devices) if gate.model == "student" else []
    else:
        expected = [gate.device]
    missing = [device for device in expected if not any(_is_on(item, device) for item in matching)]
    if gate.device is None and not matching and not missing:
        missing = ["any device"]
    return missing


def _judge_measurement(
    gate: GateSection, item: Evidence, evidence: Sequence[Evidence], name: str
) -> GateResult:
    metric = METRICS[gate.metric]
    reading = metric.read(item, evidence, gate)
    outcome = _outcome(reading, gate)
    needed = None
    copies = item.data.copies_in_test if item.data is not None else 0.0
    if outcome == "passed" and metric.counts_images and copies > MOST_COPIES:
        outcome = "undecided"
        needed = (
            f"{in_unit(copies, 'share')} of the test images are copies of others, so the interval is too "
            "narrow; data.drop_duplicates: true keeps one of each"
        )
    elif outcome == "undecided":
        needed = reading.needed or required_sample(reading, gate, metric, item.measurement.quality)
    return _result(gate, name, reading, outcome, needed)


def _unmeasured(gate: GateSection, device: str) -> GateResult:
    name = " ".join(filter(None, [gate.model, gate.precision, f"on {device}"]))
    return _result(gate, name, Reading(None, why="no such measurement"), "unmeasured", None)


def _result(
    gate: GateSection, name: str, reading: Reading, outcome: GateOutcome, needed: str | None
) -> GateResult:
    metric = METRICS[gate.metric]
    title = gate.metric if gate.threshold is None else f"{gate.metric} at confidence {gate.threshold:g}"
    title += "" if gate.of_class is None else f" {gate.of_class}"
    limit = _limit(gate, metric)
    value = _value(reading, metric, outcome)
    over = f" over {reading.sample:,.0f} images" if metric.counts_images and outcome != "unmeasured" else ""
    reasons = "; ".join(reason for reason in (reading.why, needed) if reason)
    return GateResult(
        metric=gate.metric,
        threshold=gate.threshold,
        of_class=gate.of_class,
        measurement=name,
        limit=limit,
        bound=bound_of(gate),
        value=reading.value,
        low=reading.low,
        high=reading.high,
        level=intervals.LEVEL,
        images=int(reading.sample) if metric.counts_images else None,
        result=outcome,
        sentence=f"{title} of {name}: {value}{over}, limit {limit}: {outcome}"
        f"{f' ({reasons})' if reasons else ''}",
        needed=needed,
    )


def _value(reading: Reading, metric: Metric, outcome: GateOutcome) -> str:
    if reading.value is None and outcome == "unmeasured":
        return "not measured"
    value = in_unit(reading.value, metric.unit)
    if metric.kind == "exact":
        return value
    return f"{value} {interval(reading.low, reading.high, metric.unit)}".strip()


def _limit(gate: GateSection, metric: Metric) -> str:
    ((kind, number),) = bound_of(gate).items()
    text = limit_in_unit(number, metric.unit)
    return {"max": f"at most {text}", "min": f"at least {text}", "within": f"within ±{text}"}[kind]


def _outcome(reading: Reading, gate: GateSection) -> GateOutcome:
    highest = gate.max if gate.max is not None else gate.within
    lowest = gate.min if gate.min is not None else (None if gate.within is None else -gate.within)
    if reading.value is None and reading.decides:
        return "unmeasured"
    if not reading.decides or reading.low is None or reading.high is None:
        return "undecided"
    if (highest is not None and reading.low > highest) or (lowest is not None and reading.high < lowest):
        return "failed"
    inside = (highest is None or reading.high <= highest) and (lowest is None or reading.low >= lowest)
    return "passed" if inside else "undecided"


def _failed_fits(
    gates: Sequence[GateSection],
    evidence: Sequence[Evidence],
    names: dict[int, str],
    target_devices: Sequence[str],
) -> list[GateResult]:
    """A result for each shipped file without a fitted temperature that no gate of the recipe covers."""
    default = GateSection(metric="temperature_status", max=0.0)
    requested = [gate for gate in gates if gate.metric == default.metric]
    results = []
    for item in evidence:
        m = item.measurement
        covered = any(_applies(gate, item, target_devices) for gate in requested)
        unfitted = not METRICS[default.metric].read(item, evidence, default).decides
        if m.model == "student" and m.calibrated and unfitted and not covered:
            results.append(_judge_measurement(default, item, evidence, names[id(item)]))
    return results


def _worst(outcomes: Iterable[GateOutcome]) -> GateOutcome:
    """Failed beats undecided beats passed; unmeasured fails."""
    seen = set(outcomes)
    if seen & {"failed", "unmeasured"}:
        return "failed"
    return "undecided" if "undecided" in seen else "passed"
