"""Files whose accuracy no gate has judged: a pass of other gates says nothing of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import GateResult, Measurement
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.learnt import NOTHING
from calkd_edge.release.gates.metric import Accuracy
from calkd_edge.release.gates.metrics import METRICS

ACCURACY_GATES = "{metric: top1, min: 0.8} or {metric: top1_drop_from_teacher, max: 0.05}"


def unjudged(
    gates: Sequence[GateSection],
    evidence: Sequence[Evidence],
    names: dict[int, str],
    results: Sequence[GateResult],
) -> Iterator[GateResult]:
    """An undecided result for each file of the student whose accuracy no gate has judged.

    A file is judged where a gate on accuracy has judged it on any device and runtime, or where fp32's was
    judged there and the file was compared with it.

    Args:
        gates: of the recipe.
        evidence: all measurements.
        names: of the measurements, by the identity of their evidence.
        results: of the gates.
    """
    rows = [(item.measurement, names[id(item)]) for item in evidence if _ships(item.measurement)]
    alone, compared = _measured_by("alone", results), _measured_by("beside fp32", results)
    fp32 = {(m.device, m.runtime) for m, name in rows if m.precision == "fp32" and name in alone}
    judged = {
        m.precision
        for m, name in rows
        if name in alone or (name in compared and (m.device, m.runtime) in fp32)
    }
    if not judged:
        yield _result(gates, "student", "the student's accuracy")
        return
    for m, name in rows:
        if m.precision not in judged:
            yield _result(gates, name, f"the accuracy of {name}")


def without_accuracy_gate(gates: Sequence[GateSection], precisions: Sequence[str]) -> list[str]:
    """The precisions whose accuracy no gate of a recipe will judge, before anything is measured."""
    student = [gate for gate in gates if gate.model == "student" and gate.metric in METRICS]

    def named(accuracy: Accuracy) -> Collection[str]:
        of = [gate.precision for gate in student if METRICS[gate.metric].accuracy == accuracy]
        return {name for name in precisions if None in of or name in of}

    alone = named("alone")
    compared = named("beside fp32") if "fp32" in alone else ()
    return [name for name in precisions if name not in alone and name not in compared]


def _ships(m: Measurement) -> bool:
    return m.model == "student" and m.is_released and m.calibrated


def _measured_by(accuracy: Accuracy, results: Sequence[GateResult]) -> set[str]:
    """Names of the measurements that gates of this kind have judged."""
    return {result.measurement for result in results if METRICS[result.metric].accuracy == accuracy}


def _result(gates: Sequence[GateSection], name: str, what: str) -> GateResult:
    labels = ", ".join(dict.fromkeys(gate.label for gate in gates)) or "none that can judge"
    return GateResult(
        metric="top1",
        measurement=name,
        limit="none",
        value=None,
        low=None,
        high=None,
        level=intervals.LEVEL,
        images=0,
        result="undecided",
        sentence=f"{NOTHING}: no gate has judged {what} ({labels}): undecided",
        needed=f"a gate such as {ACCURACY_GATES}",
    )
