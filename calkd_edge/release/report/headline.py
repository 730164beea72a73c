"""The first screen of a report: what to ship, its five figures, the device by name, date and version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calkd_edge.devices.core_names import processor_name
from calkd_edge.records import DeviceFacts, Measurement, Quality, Recommendation, Report
from calkd_edge.release.gates.learnt import NOTHING
from calkd_edge.release.report import numbers
from calkd_edge.release.report.learning import LOST

MOST_SENTENCES = 2
"""Recommendations on the first screen; those of further devices are folded."""


@dataclass(frozen=True)
class Tile:
    """A figure of the first screen as text, and the lines below it; an empty one is left out."""

    name: str
    value: str
    lines: tuple[str, ...]


def headline(
    measurements: Sequence[Measurement], recommended: Sequence[Recommendation]
) -> Measurement | None:
    """The measurement that stands for the release: the recommended file, else the first of the student.

    Args:
        measurements: of the report, in its order.
        recommended: one for each device and runtime.
    """
    students = [m for m in measurements if m.model == "student" and m.calibrated]
    for choice in recommended:
        for m in students:
            if is_of(choice, m):
                return m
    return next((m for m in students if m.quality is not None), None)


def is_of(choice: Recommendation, m: Measurement) -> bool:
    """Whether a file of the student is the recommended one of its device and runtime."""
    return (m.device, m.runtime, m.precision) == (choice.device, choice.runtime, choice.precision)


def reference_of(m: Measurement, measurements: Sequence[Measurement], *, model: str) -> Measurement | None:
    """The calibrated fp32 file of a model, on the device of `m` where it was measured there, else on any."""
    rows = [
        r
        for r in measurements
        if r.model == model
        and r.precision == "fp32"
        and r.calibrated
        and r.quality is not None
        and r is not m
    ]
    return min(rows, key=lambda r: (r.device, r.runtime) != (m.device, m.runtime), default=None)


def tiles(report: Report, m: Measurement) -> list[Tile]:
    """Top-1, ECE, latency, size and the first threshold of a file, each against the teacher or fp32."""
    teacher = reference_of(m, report.measurements, model="teacher")
    fp32 = None if m.precision == "fp32" else reference_of(m, report.measurements, model="student")
    peer, name = (fp32, "fp32") if fp32 is not None else (teacher, "teacher")
    if peer is not None and (peer.device, peer.runtime) != (m.device, m.runtime):
        peer = None
    p50 = m.latency_ms.p50 if m.latency_ms is not None and not m.emulated else None
    peer_p50 = peer.latency_ms.p50 if peer is not None and peer.latency_ms is not None else None
    bounds = numbers.interval(p50.low, p50.high, "ms") if p50 else ""
    unknown = "emulated: shows no speed" if m.emulated else "not measured"
    return [
        *_of_quality(m.quality, teacher.quality if teacher else None),
        Tile(
            "latency, p50",
            numbers.milliseconds(p50.value if p50 else None),
            (bounds or unknown, _against(name, numbers.milliseconds(peer_p50.value if peer_p50 else None))),
        ),
        Tile(
            "size",
            numbers.size(m.size_bytes or None),
            (_against(name, numbers.size(peer.size_bytes if peer else None)),),
        ),
        *_at_threshold(m.quality, teacher.quality if teacher else None),
    ]


def _of_quality(quality: Quality | None, teacher: Quality | None) -> list[Tile]:
    return [
        Tile(
            name,
            numbers.percent(value.value if value else None),
            (
                numbers.interval(value.low, value.high, "share") if value else "not measured",
                _against("teacher", numbers.percent(reference.value if reference else None)),
            ),
        )
        for name, value, reference in (
            ("top-1", quality and quality.top1, teacher and teacher.top1),
            ("ECE", quality and quality.ece, teacher and teacher.ece),
        )
    ]


def _against(name: str, value: str) -> str:
    return "" if value == numbers.MISSING else f"{name} {value}"


def _at_threshold(quality: Quality | None, teacher: Quality | None) -> list[Tile]:
    """How many answers from the first threshold on are right, and how many images reach it."""
    if quality is None or not quality.thresholds:
        return []
    first = quality.thresholds[0]
    name = f"confidence ≥ {first.threshold:g}"
    if first.precision is None:
        return [Tile(name, numbers.MISSING, ("takes no image",))]
    same = [t.precision for t in teacher.thresholds if t.threshold == first.threshold] if teacher else []
    lines = (
        f"right of {numbers.percent(first.coverage.value)} taken",
        numbers.interval(first.precision.low, first.precision.high, "share"),
        _against("teacher", numbers.percent(same[0].value if same and same[0] else None)),
    )
    return [Tile(name, numbers.percent(first.precision.value), lines)]


def real_name(facts: DeviceFacts) -> str:
    """The board or else the processor of a device, with its cores."""
    name = (
        facts.board if facts.board not in ("", facts.machine) else processor_name(facts.cpu) or facts.machine
    )
    return f"{name}, {facts.cores} {'core' if facts.cores == 1 else 'cores'}"


def location(report: Report, m: Measurement) -> str:
    """Where a file was measured: device with its real name, its system, the runtime with its version."""
    facts = report.devices.get(m.device)
    if facts is None:
        return f"{m.device}, {m.runtime}"
    version = facts.runtimes.get(m.runtime, "")
    emulated = ", emulated" if facts.emulated else ""
    return f"{m.device}: {real_name(facts)}{emulated}; {facts.system}; {m.runtime} {version}".rstrip()


def made(report: Report) -> list[str]:
    """Date, version and commit behind the report, where they are known."""
    versions = report.environment.get("versions")
    version = versions.get("calkd-edge") if isinstance(versions, dict) else None
    commit = report.environment.get("commit")
    date = str(report.environment.get("date") or "").replace("T", " ").replace("+00:00", " UTC")
    parts = [date, f"calkd-edge {version}" if version else "calkd-edge", f"commit {commit}" if commit else ""]
    return [part for part in parts if part]


def not_learnt(report: Report) -> list[str]:
    """What the conclusions say of a student that learned too little: the first of each kind, no smoke run."""
    if report.verdict == "smoke":
        return []
    kinds = ((text for text in report.conclusions if text.startswith(kind)) for kind in (NOTHING, LOST))
    return [text for sentences in kinds if (text := next(sentences, None)) is not None]


def context(report: Report) -> dict[str, object]:
    """What the first screen shows."""
    m = headline(report.measurements, report.recommendation)
    sentences = [_halves(choice.sentence) for choice in report.recommendation]
    return {
        "made": made(report),
        "ship": sentences[:MOST_SENTENCES],
        "ship_elsewhere": sentences[MOST_SENTENCES:],
        "not_learnt": not_learnt(report),
        "shown": m,
        "is_recommended": m is not None and any(is_of(choice, m) for choice in report.recommendation),
        "tiles": tiles(report, m) if m else [],
        "location": location(report, m) if m else "",
    }


def _halves(sentence: str) -> tuple[str, str]:
    """A recommendation as what to do, and why."""
    what, colon, why = sentence.partition(": ")
    return what + colon.strip(), why
