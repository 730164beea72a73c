"""Metric, limit and interval become passed, failed or undecided; what was not measured fails.

A gate has passed when its whole interval lies inside the limit, failed when it lies wholly outside;
anything else is undecided, with what would decide it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import GateOutcome, GateResult, Verdict
from calkd_edge.release.gates.evidence import Evidence, labels_of
from calkd_edge.release.gates.gate_metrics import METRICS, Metric, Reading
from calkd_edge.release.gates.gate_needs import needed
from calkd_edge.release.report.numbers import in_unit, interval, limit_in_unit

__all__ = ["METRICS", "Evidence", "check", "judge"]


def judge(
    gates: Sequence[GateSection],
    evidence: Sequence[Evidence],
    *,
    smoke: bool = False,
    target_devices: Sequence[str] = (),
) -> Verdict:
    """The outcome of every gate on every measurement it applies to, and of all together.

    A measurement that ships without a fitted temperature is undecided even when no gate names it.

    Args:
        gates: as the recipe states them.
        evidence: all measurements; only calibrated ones are judged.
        smoke: the verdict is `smoke`, whatever the gates say.
        target_devices: names (or name:runtime) given for this run; a gate they lack evidence for is
            unmeasured.

    Raises:
        RecipeError: see `check`.
    """
    check(gates, None)
    names = dict(zip(map(id, evidence), labels_of([one.measurement for one in evidence]), strict=True))
    results: list[GateResult] = []
    for gate in gates:
        matching = [one for one in evidence if _applies(gate, one, target_devices)]
        results += [_judge_one(gate, one, evidence, names[id(one)]) for one in matching]
        results += [_unmeasured(gate, place) for place in _missing(gate, matching, target_devices)]
    results += _failed_fits(gates, evidence, names)
    return Verdict(
        verdict="smoke" if smoke else _overall(result.result for result in results), gates=tuple(results)
    )


def check(gates: Sequence[GateSection], precisions: Collection[str] | None, *, where: str = "recipe") -> None:
    """Refuse gates that cannot be meant as written.

    Args:
        gates: as the recipe states them.
        precisions: those that are made, None when that is unknown.
        where: the recipe's file, for the message.

    Raises:
        RecipeError: an unknown metric or precision, a limit in the wrong direction, a missing or pointless
            threshold, fp32 compared with itself.
    """
    for place, gate in enumerate(gates):
        here = f"{where}: gates[{place}]"
        metric = METRICS.get(gate.metric)
        if metric is None:
            raise RecipeError(
                f"{here}.metric: no metric is named '{gate.metric}'",
                remedy=f"{did_you_mean(gate.metric, METRICS)}Valid: {', '.join(sorted(METRICS))}.",
            )
        given = next(key for key in ("max", "min", "within") if getattr(gate, key) is not None)
        if given not in metric.limits:
            raise RecipeError(
                f"{here}.{given}: {gate.metric} ({metric.meaning}) cannot be limited by {given}",
                remedy=f"Give {' or '.join(metric.limits)} instead of {given}.",
            )
        if metric.threshold != (gate.threshold is not None):
            raise RecipeError(
                f"{here}.threshold: {gate.metric} {'needs' if metric.threshold else 'takes no'} threshold",
                remedy="Add threshold: 0.9 (the confidence from which an image counts)."
                if metric.threshold
                else "Remove threshold.",
            )
        _check_comparison(gate, metric, precisions, here)


def _check_comparison(
    gate: GateSection, metric: Metric, precisions: Collection[str] | None, here: str
) -> None:
    if precisions is not None and gate.precision is not None and gate.precision not in precisions:
        raise RecipeError(
            f"{here}.precision: '{gate.precision}' is not made here",
            remedy=f"{did_you_mean(gate.precision, precisions)}Valid: {', '.join(precisions)}.",
        )
    if gate.model == "teacher" and metric.against is not None:
        raise RecipeError(
            f"{here}.model: {gate.metric} compares a student with {metric.against}",
            remedy="Remove model: teacher.",
        )
    if metric.against == "fp32" and gate.precision == "fp32":
        raise RecipeError(
            f"{here}.precision: {gate.metric} would compare fp32 with itself",
            remedy="Name another precision, or none for all others.",
        )


def _applies(gate: GateSection, one: Evidence, target_devices: Sequence[str]) -> bool:
    m, metric = one.measurement, METRICS[gate.metric]
    if not m.calibrated or m.model != gate.model or gate.precision not in (None, m.precision):
        return False
    if metric.against == "fp32" and m.precision == "fp32":
        return False
    if gate.device is None:
        return True
    wanted = target_devices if gate.device == "target" else (gate.device,)
    return any(_is_on(one, place) for place in wanted)


def _is_on(one: Evidence, place: str) -> bool:
    return place in (one.measurement.device, f"{one.measurement.device}:{one.measurement.runtime}")


def _missing(gate: GateSection, matching: Sequence[Evidence], target_devices: Sequence[str]) -> list[str]:
    """Devices the gate speaks of and nothing was measured on; target gates without targets speak of none."""
    if gate.device in (None, "target"):
        expected = list(target_devices) if gate.model == "student" else []
    else:
        expected = [str(gate.device)]
    missing = [place for place in expected if not any(_is_on(one, place) for one in matching)]
    if gate.device is None and not matching and not missing:
        missing = ["any device"]
    return missing


def _judge_one(gate: GateSection, own: Evidence, evidence: Sequence[Evidence], name: str) -> GateResult:
    metric = METRICS[gate.metric]
    reading = metric.read(own, evidence, gate)
    outcome = _outcome(reading, gate)
    mend = None
    if outcome == "undecided":
        mend = reading.needed or needed(reading, gate, metric, own.measurement.quality)
    text = f"{in_unit(reading.value, metric.unit)} {interval(reading.low, reading.high, metric.unit)}".strip()
    if reading.value is None and outcome == "unmeasured":
        text = "not measured"
    elif metric.kind == "exact":
        text = in_unit(reading.value, metric.unit)
    return _result(gate, name, reading, outcome, text, mend)


def _result(
    gate: GateSection, name: str, reading: Reading, outcome: GateOutcome, text: str, mend: str | None
) -> GateResult:
    title = gate.metric if gate.threshold is None else f"{gate.metric} at confidence {gate.threshold:g}"
    limit = _limit(gate)
    reasons = "; ".join(reason for reason in (reading.why, mend) if reason)
    return GateResult(
        metric=gate.metric,
        measurement=name,
        limit=limit,
        value=reading.value,
        low=reading.low,
        high=reading.high,
        level=intervals.LEVEL,
        result=outcome,
        sentence=f"{title} of {name}: {text}, limit {limit}: {outcome}{f' ({reasons})' if reasons else ''}",
        needed=mend,
    )


def _unmeasured(gate: GateSection, place: str) -> GateResult:
    name = " ".join(filter(None, [gate.model, gate.precision, f"on {place}"]))
    return _result(gate, name, Reading(None, why="no such measurement"), "unmeasured", "not measured", None)


def _limit(gate: GateSection) -> str:
    unit = METRICS[gate.metric].unit
    if gate.max is not None:
        return f"at most {limit_in_unit(gate.max, unit)}"
    if gate.min is not None:
        return f"at least {limit_in_unit(gate.min, unit)}"
    return f"within ±{limit_in_unit(gate.within or 0.0, unit)}"


def _outcome(reading: Reading, gate: GateSection) -> GateOutcome:
    below = gate.max if gate.max is not None else gate.within
    above = gate.min if gate.min is not None else (None if gate.within is None else -gate.within)
    if reading.value is None and reading.decides:
        return "unmeasured"
    if not reading.decides or reading.low is None or reading.high is None:
        return "undecided"
    if (below is not None and reading.low > below) or (above is not None and reading.high < above):
        return "failed"
    inside = (below is None or reading.high <= below) and (above is None or reading.low >= above)
    return "passed" if inside else "undecided"


def _failed_fits(
    gates: Sequence[GateSection], evidence: Sequence[Evidence], names: dict[int, str]
) -> list[GateResult]:
    """A shipped file whose temperature could not be fitted: undecided, whether or not a gate asks."""
    gate = GateSection(metric="temperature_status", max=0.0)
    asked = [one for one in gates if one.metric == "temperature_status"]
    out = []
    for one in evidence:
        reading = METRICS["temperature_status"].read(one, evidence, gate)
        covered = any(_applies(same, one, (one.measurement.device,)) for same in asked)
        shipped = one.measurement.model == "student" and one.measurement.calibrated
        if shipped and not covered and not reading.decides:
            out.append(_judge_one(gate, one, evidence, names[id(one)]))
    return out


def _overall(outcomes: Iterable[GateOutcome]) -> GateOutcome:
    """Failed beats undecided beats passed; unmeasured fails."""
    seen = set(outcomes)
    if seen & {"failed", "unmeasured"}:
        return "failed"
    return "undecided" if "undecided" in seen else "passed"
