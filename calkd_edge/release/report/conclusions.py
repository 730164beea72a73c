"""Sentences a reader needs after the figures: does int8 pay, did calibration help, is T enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from calkd_edge.agent import isa
from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import DeviceFacts, LatencySummary, Measurement
from calkd_edge.release.gates.evidence import Evidence, labels_of, paired, same_student_in_fp32
from calkd_edge.release.report import numbers
from calkd_edge.release.report.elsewhere import answers_elsewhere

IN_FLOAT32 = "stay in float32"
"""In the note of a file whose quantizer left layers as they were."""


def conclusions(
    evidence: Sequence[Evidence], *, devices: Mapping[str, DeviceFacts] | None = None
) -> tuple[str, ...]:
    """What the measurements say in sentences, the comparison of precisions first.

    Args:
        evidence: all measurements, uncalibrated rows too.
        devices: what each device is; without it no reason is given for a speed.
    """
    measurements = [one.measurement for one in evidence]
    names = dict(zip(map(id, measurements), labels_of(measurements), strict=True))
    said: list[str] = []
    for one in evidence:
        m = one.measurement
        if m.model == "student" and m.calibrated and m.precision != "fp32":
            reference = same_student_in_fp32(one, evidence)
            if reference is not None:
                said += _precision_pays(
                    one, reference.measurement, names[id(m)], (devices or {}).get(m.device)
                )
                said += _temperature_moved(m, reference.measurement, names[id(m)])
            said += _floats_cost(one, evidence, names[id(m)])
    said += answers_elsewhere(evidence, list(names.values()))
    said += _teacher_calibration_bought(evidence)
    released = [m for m in measurements if m.model != "control"]
    said += _calibration_helped(released, names)
    said += [text for m in released if m.calibrated for text in _temperature_suffices(m, names[id(m)])]
    return tuple(dict.fromkeys(text[0].upper() + text[1:] for text in said))


def _precision_pays(own: Evidence, fp32: Measurement, name: str, facts: DeviceFacts | None) -> list[str]:
    m = own.measurement
    share = f"its file is {m.size_bytes / fp32.size_bytes:.2f} of the size" if fp32.size_bytes else ""
    if m.emulated:
        return [f"{name}: {share}; its times come from an emulated device and say nothing about speed."]
    if m.latency_ms is None or fp32.latency_ms is None:
        return [f"{name}: {share}; it was not timed against fp32."]
    ratio = _ratio(m.latency_ms, fp32.latency_ms)
    if ratio is None:
        return [f"{name}: {share}; too few runs to compare its speed with fp32."]
    value, low, high = ratio
    own_p50, fp32_p50 = m.latency_ms.p50.value, fp32.latency_ms.p50.value
    times = f"{numbers.milliseconds(own_p50)} against {numbers.milliseconds(fp32_p50)}"
    span = f"{value:.2f} of the time, between {low:.2f} and {high:.2f}"
    if high < 1:
        return [f"{name} pays: p50 {times} in fp32 ({span}), and {share}."]
    why = why_not_faster(m.precision, m.runtime, facts)
    verdict = "does not pay in time: it is slower" if low > 1 else "shows no sure gain in time"
    return [f"{name} {verdict}, p50 {times} in fp32 ({span}); {share}.{f' {why}' if why else ''}"]


def _ratio(own: LatencySummary, fp32: LatencySummary) -> tuple[float, float, float] | None:
    """p50 over p50 with the bounds that hold when both of theirs do."""
    a, b = own.p50, fp32.p50
    if (
        a.value is None
        or a.low is None
        or a.high is None
        or b.value is None
        or b.low is None
        or b.high is None
    ):
        return None
    return (a.value / b.value, a.low / b.high, a.high / b.low) if b.low > 0 else None


def why_not_faster(precision: str, runtime: str, facts: DeviceFacts | None) -> str | None:
    """What of a device keeps a precision from being faster than fp32, as a sentence; None: not known."""
    if facts is None or not runtime.startswith("onnxruntime"):
        return None
    has = {name.lower() for name in facts.isa}
    if precision.startswith("int8"):
        if not has & isa.INT8:
            return "The reason: this CPU has no VNNI or dot-product int8 instructions."
        return (
            "This CPU has int8 instructions, so a lack of them is not the reason; a profile of the runtime "
            "would show what it spends on converting between int8 and float32 and on layers in float32."
        )
    if precision == "fp16" and not has & isa.FP16:
        return "The reason: this CPU has no fp16 arithmetic, so fp16 runs as float32 after a cast."
    return None


def _floats_cost(own: Evidence, evidence: Sequence[Evidence], name: str) -> list[str]:
    """What the layers that stayed in float32 cost in time, against the same student all in int8."""
    m = own.measurement
    if not any(IN_FLOAT32 in note for note in m.notes) or m.latency_ms is None or m.emulated:
        return []
    place = (m.model, "int8", m.device, m.runtime)
    calibrated = [one.measurement for one in evidence if one.measurement.calibrated]
    whole = next((one for one in calibrated if _place(one) == place), None)
    if whole is None:
        return [
            f"{name}: what its layers in float32 cost in time is not known: int8 was not measured beside it."
        ]
    ratio = None if whole is None or whole.latency_ms is None else _ratio(m.latency_ms, whole.latency_ms)
    if ratio is None:
        return []
    value, low, high = ratio
    span = f"{value:.2f} of int8's time, between {low:.2f} and {high:.2f}"
    return [f"{name}: what stays in float32 makes it take {span}."]


def _temperature_moved(m: Measurement, fp32: Measurement, name: str) -> list[str]:
    own, reference = m.calibration, fp32.calibration
    if own is None or reference is None or own.temperature is None or reference.temperature is None:
        return []
    if not own.se or not reference.se or own.status != "ok" or reference.status != "ok":
        return []
    both = (
        f"T {numbers.temperature(own.temperature, own.se[0])} against "
        f"{numbers.temperature(reference.temperature, reference.se[0])} in fp32"
    )
    if abs(own.temperature - reference.temperature) <= 2 * max(own.se[0], reference.se[0]):
        return [
            f"{name}: {m.precision} did not change the temperature measurably ({both}, within 2 "
            f"standard errors)."
        ]
    return [f"{name}: {m.precision} changed the temperature ({both}, more than 2 standard errors)."]


def _teacher_calibration_bought(evidence: Sequence[Evidence]) -> list[str]:
    """The student against its control: the same from the uncalibrated teacher, calibrated afterwards."""
    control = next(
        (one for one in evidence if one.measurement.model == "control" and one.measurement.calibrated), None
    )
    if control is None or control.predictions is None:
        return []
    student = same_student_in_fp32(_as_student(control), evidence)
    pair = paired(student.predictions, control.predictions) if student and student.predictions else None
    if pair is None or len(pair.labels) < 2:
        return []
    own, theirs = (scores.nll_per_image(logits, pair.labels) for logits in (pair.own, pair.reference))
    nll = intervals.mean_bounds(own - theirs, seed=0)[0]
    right, was = (scores.top1(logits) == pair.labels for logits in (pair.own, pair.reference))
    top1 = intervals.tango(int((right & ~was).sum()), int((was & ~right).sum()), len(pair.labels))
    shift = [
        f"{numbers.in_unit(one.value, unit)} {numbers.interval(one.low, one.high, unit)}"
        for one, unit in ((top1, "share"), (nll, "nats"))
    ]
    return [
        f"Calibrating the teacher moved the student's top-1 by {shift[0]} and its NLL by {shift[1]}, against "
        "a control that learned from the uncalibrated teacher and got its own temperature afterwards; one "
        "seed each, so other seeds may differ by more."
    ]


def _as_student(control: Evidence) -> Evidence:
    """The control's place with the student's name, to look up who stands there."""
    return replace(control, measurement=control.measurement.model_copy(update={"model": "student"}))


def _calibration_helped(measurements: Sequence[Measurement], names: Mapping[int, str]) -> list[str]:
    """One sentence when ECE fell everywhere, and one for each measurement where it did not."""
    raw = {_place(m): m for m in measurements if not m.calibrated and m.quality}
    lowered, said = [], []
    for m in measurements:
        before = raw.get(_place(m))
        if not m.calibrated or m.quality is None or before is None or before.quality is None:
            continue
        moved = f"{numbers.percent(before.quality.ece.value)} to {numbers.percent(m.quality.ece.value)}"
        if m.quality.ece.value <= before.quality.ece.value:
            lowered.append(f"{names[id(m)]} from {moved}")
        else:
            said.append(
                f"Calibration did not lower the ECE of {names[id(m)]}: it went from {moved}, where "
                f"chance alone "
                f"shows {numbers.percent(m.quality.ece_floor)}."
            )
    if lowered:
        head = (
            "Calibration lowered ECE" if said else "Calibration lowered ECE everywhere, or left it as it was"
        )
        said.insert(0, f"{head}: {'; '.join(lowered)}.")
    return said


def _place(m: Measurement) -> tuple[str, str, str, str]:
    return (m.model, m.precision, m.device, m.runtime)


def _temperature_suffices(m: Measurement, name: str) -> list[str]:
    if m.quality is None or m.calibration is None or m.calibration.status != "ok":
        return []
    most = m.quality.confidence.ece_floor_95
    if m.quality.ece.value <= most:
        return []
    what = "temperature" if m.calibration.temperature is not None else m.calibration.method
    return [
        f"A {what} is not enough for {name}: ECE {numbers.percent(m.quality.ece.value)} after it, "
        f"where a perfectly "
        f"calibrated model stays below {numbers.percent(most)} in 95 of 100 samples of "
        f"{m.quality.images:,} images."
    ]
