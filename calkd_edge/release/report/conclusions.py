"""Sentences that a reader needs after the figures: is int8 worth it, is T enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.agent import isa
from calkd_edge.metrics.latency import doubts_of, p50_ratio, typical_p50
from calkd_edge.records import DeviceFacts, Measurement
from calkd_edge.release.gates.evidence import Evidence, file_key, labels_of, same_student_in_fp32
from calkd_edge.release.report import numbers
from calkd_edge.release.report.device_agreement import agreement_with_local
from calkd_edge.release.report.other_images import other_images

IN_FLOAT32 = "stay in float32"
"""In the note of a file whose quantizer kept layers in float32."""


def conclusions(
    evidence: Sequence[Evidence], *, devices: Mapping[str, DeviceFacts] | None = None
) -> tuple[str, ...]:
    """Sentences on the measurements, the comparison of precisions first.

    Args:
        evidence: all measurements, uncalibrated rows too.
        devices: facts of each device; without them no reason is given for a speed.
    """
    measurements = [item.measurement for item in evidence]
    names = dict(zip(map(id, measurements), labels_of(measurements), strict=True))
    sentences: list[str] = []
    for item in evidence:
        m = item.measurement
        if m.model == "student" and m.calibrated and m.precision != "fp32":
            reference = same_student_in_fp32(item, evidence)
            if reference is not None:
                fp32 = reference.measurement
                sentences.append(_speed_against_fp32(m, fp32, names[id(m)], (devices or {}).get(m.device)))
                sentences += _temperature_against_fp32(m, fp32, names[id(m)])
            sentences += _cost_of_float_layers(m, measurements, names[id(m)])
    sentences += other_images(evidence, names)
    sentences += agreement_with_local(evidence, list(names.values()))
    released = [m for m in measurements if m.is_released]
    sentences += _effect_on_ece(released, names)
    sentences += [text for m in released if m.calibrated for text in _miscalibration_left(m, names[id(m)])]
    return tuple(dict.fromkeys(text[0].upper() + text[1:] for text in sentences))


def _speed_against_fp32(m: Measurement, fp32: Measurement, name: str, facts: DeviceFacts | None) -> str:
    share = f"its file is {m.size_bytes / fp32.size_bytes:.2f} of the size" if fp32.size_bytes else ""
    if m.emulated:
        return f"{name}: {share}; its times come from an emulated device and do not show speed."
    if m.latency_ms is None or fp32.latency_ms is None:
        return f"{name}: {share}; it was not timed against fp32."
    ratio = p50_ratio(m.latency_ms, fp32.latency_ms)
    if ratio is None:
        return f"{name}: {share}; there are too few runs to compare its speed with fp32."
    value, low, high = ratio
    both = [numbers.milliseconds(typical_p50(each)) for each in (m.latency_ms, fp32.latency_ms)]
    times = f"a median of {both[0]} against {both[1]} in fp32"
    span = f"{value:.2f} of the time, between {low:.2f} and {high:.2f}"
    doubts = doubts_of(m.latency_ms) or doubts_of(fp32.latency_ms)
    if doubts:
        return f"Whether {name} is faster than fp32 is open, as {doubts[0]}: {times} ({span}); {share}."
    if high < 1:
        return f"{name} is faster than fp32: {times} ({span}), and {share}."
    reason = why_not_faster(m.precision, m.runtime, facts)
    verdict = "is slower than fp32" if low > 1 else "is not measurably faster than fp32"
    return f"{name} {verdict}: {times} ({span}); {share}.{f' {reason}' if reason else ''}"


def why_not_faster(precision: str, runtime: str, facts: DeviceFacts | None) -> str | None:
    """The property of a device that keeps a precision from being faster than fp32; None when not known."""
    if facts is None or not runtime.startswith("onnxruntime"):
        return None
    available = {name.lower() for name in facts.isa}
    if precision.startswith("int8"):
        if not available & isa.INT8:
            return "The reason: this CPU has no VNNI or dot-product int8 instructions."
        return (
            "This CPU has int8 instructions, so a lack of them is not the reason; a profile of the runtime "
            "shows the time spent on converting between int8 and float32 and on layers in float32."
        )
    if precision == "fp16" and not available & isa.FP16:
        return "The reason: this CPU has no fp16 arithmetic, so fp16 runs as float32 after a cast."
    return None


def _cost_of_float_layers(m: Measurement, measurements: Sequence[Measurement], name: str) -> list[str]:
    """The time that layers in float32 cost, against the same student with all layers in int8."""
    if not any(IN_FLOAT32 in note for note in m.notes) or m.latency_ms is None or m.emulated:
        return []
    key = (m.model, "int8", m.device, m.runtime)
    int8 = next((peer for peer in measurements if peer.calibrated and file_key(peer) == key), None)
    if int8 is None:
        return [f"{name}: the cost in time of its layers in float32 is unknown: int8 was not measured."]
    ratio = None if int8.latency_ms is None else p50_ratio(m.latency_ms, int8.latency_ms)
    if ratio is None:
        return []
    value, low, high = ratio
    span = f"{value:.2f} of int8's time, between {low:.2f} and {high:.2f}"
    return [f"{name}: with its layers in float32 it takes {span}."]


def _temperature_against_fp32(m: Measurement, fp32: Measurement, name: str) -> list[str]:
    fit, reference = m.calibration, fp32.calibration
    if fit is None or reference is None or fit.temperature is None or reference.temperature is None:
        return []
    if not fit.se or not reference.se or fit.status != "ok" or reference.status != "ok":
        return []
    both = f"T {numbers.temperature_of(fit)} against {numbers.temperature_of(reference)} in fp32"
    if abs(fit.temperature - reference.temperature) <= 2 * max(fit.se[0], reference.se[0]):
        verdict = "did not change the temperature measurably"
        return [f"{name}: {m.precision} {verdict} ({both}, within 2 standard errors)."]
    return [f"{name}: {m.precision} changed the temperature ({both}, more than 2 standard errors)."]


def _effect_on_ece(measurements: Sequence[Measurement], names: Mapping[int, str]) -> list[str]:
    """A sentence on the files whose ECE fell, on those where it stayed, and one for each where it rose."""
    raw = {file_key(m): m.quality for m in measurements if not m.calibrated and m.quality}
    lower: list[str] = []
    equal: list[str] = []
    higher: list[str] = []
    for m in measurements:
        before = raw.get(file_key(m))
        if not m.calibrated or m.quality is None or before is None:
            continue
        was, now = numbers.percent(before.ece.value), numbers.percent(m.quality.ece.value)
        change = f"{was} to {now}"
        if was == now:
            equal.append(f"{names[id(m)]} ({now})")
        elif m.quality.ece.value < before.ece.value:
            lower.append(f"{names[id(m)]} from {change}")
        else:
            chance = f"chance alone shows {numbers.percent(m.quality.ece_floor)}"
            higher.append(
                f"Calibration did not lower the ECE of {names[id(m)]}: from {change}, where {chance}."
            )
    sentences = []
    if lower:
        head = "Calibration lowered ECE" if higher or equal else "Calibration lowered ECE everywhere"
        sentences.append(f"{head}: {'; '.join(lower)}.")
    if equal:
        sentences.append(f"Calibration left the ECE unchanged of {'; '.join(equal)}.")
    return [*sentences, *higher]


def _miscalibration_left(m: Measurement, name: str) -> list[str]:
    if m.quality is None or m.calibration is None or m.calibration.status != "ok":
        return []
    chance = m.quality.confidence.ece_floor_95
    if m.quality.ece.value <= chance:
        return []
    method = "temperature" if m.calibration.temperature is not None else m.calibration.method
    return [
        f"A {method} is not enough for {name}: ECE is {numbers.percent(m.quality.ece.value)} after "
        f"calibration; a perfectly calibrated model stays below {numbers.percent(chance)} in 95 of 100 "
        f"samples of {m.quality.images:,} images."
    ]
