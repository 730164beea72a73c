"""The first screen of a report: what to ship, its five figures, the device by name, date and version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calkd_edge.records import DeviceFacts, LatencySummary, Measurement, Quality, Recommendation, Report
from calkd_edge.release.report import numbers

MOST_SENTENCES = 2
"""Recommendations on the first screen; those of further devices are folded."""


@dataclass(frozen=True)
class Tile:
    """A figure of the first screen as text; parts that are not known are empty."""

    name: str
    value: str
    interval: str
    against: str


def headline(
    measurements: Sequence[Measurement], recommended: Sequence[Recommendation]
) -> Measurement | None:
    """The measurement that stands for the release: the recommended file, else the first of the student.

    Args:
        measurements: of the report, in its order.
        recommended: one for each device and runtime.
    """
    students = [m for m in measurements if m.model == "student" and m.calibrated]
    for one in recommended:
        for m in students:
            if (m.device, m.runtime, m.precision) == (one.device, one.runtime, one.precision):
                return m
    return next((m for m in students if m.quality is not None), None)


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
    peer, peer_name = (fp32, "fp32") if fp32 is not None else (teacher, "teacher")
    if peer is not None and (peer.device, peer.runtime) != (m.device, m.runtime):
        peer = None
    return [
        *_of_quality(m.quality, teacher.quality if teacher else None),
        _speed(m, peer, peer_name),
        Tile(
            "size",
            numbers.size(m.size_bytes or None),
            "",
            _against(peer, peer_name, lambda r: numbers.size(r.size_bytes)),
        ),
        *_at_threshold(m.quality, teacher.quality if teacher else None),
    ]


def _of_quality(quality: Quality | None, teacher: Quality | None) -> list[Tile]:
    if quality is None:
        return [
            Tile("top-1", numbers.MISSING, "not measured", ""),
            Tile("ECE", numbers.MISSING, "not measured", ""),
        ]
    top1, ece = quality.top1, quality.ece
    return [
        Tile(
            "top-1",
            numbers.percent(top1.value),
            numbers.interval(top1.low, top1.high, "share"),
            f"teacher {numbers.percent(teacher.top1.value)}" if teacher else "",
        ),
        Tile(
            "ECE",
            numbers.percent(ece.value),
            numbers.interval(ece.low, ece.high, "share"),
            f"teacher {numbers.percent(teacher.ece.value)}" if teacher else "",
        ),
    ]


def _speed(m: Measurement, peer: Measurement | None, peer_name: str) -> Tile:
    if m.emulated:
        return Tile("latency, p50", numbers.MISSING, "emulated: shows no speed", "")
    p50 = _p50(m.latency_ms)
    interval = (
        "" if m.latency_ms is None else numbers.interval(m.latency_ms.p50.low, m.latency_ms.p50.high, "ms")
    )
    against = _against(peer, peer_name, lambda r: _p50(r.latency_ms))
    return Tile("latency, p50", p50, interval or "not measured", against)


def _p50(latency: LatencySummary | None) -> str:
    return numbers.milliseconds(latency.p50.value if latency else None)


def _against(peer: Measurement | None, name: str, figure: Callable[[Measurement], str]) -> str:
    text = numbers.MISSING if peer is None else figure(peer)
    return "" if text == numbers.MISSING else f"{name} {text}"


def _at_threshold(quality: Quality | None, teacher: Quality | None) -> list[Tile]:
    """How many answers from the first threshold on are right, and how many images reach it."""
    if quality is None or not quality.thresholds:
        return []
    first = quality.thresholds[0]
    name, takes = (
        f"right, if confidence ≥ {first.threshold:g}",
        f"takes {numbers.percent(first.coverage.value)}",
    )
    if first.precision is None:
        return [Tile(name, numbers.MISSING, "takes no image", "")]
    same = [t for t in teacher.thresholds if t.threshold == first.threshold] if teacher else []
    against = f"; teacher {numbers.percent(same[0].precision.value)}" if same and same[0].precision else ""
    low, high = first.precision.low, first.precision.high
    return [
        Tile(
            name,
            numbers.percent(first.precision.value),
            numbers.interval(low, high, "share"),
            takes + against,
        )
    ]


def real_name(facts: DeviceFacts) -> str:
    """The board or else the processor of a device, with its cores."""
    name = facts.board if facts.board not in ("", facts.machine) else facts.cpu or facts.machine
    return f"{name}, {facts.cores} {'core' if facts.cores == 1 else 'cores'}"


def place(report: Report, m: Measurement) -> str:
    """Where a file was measured: device with its real name, its system, the runtime with its version."""
    facts = report.devices.get(m.device)
    if facts is None:
        return f"{m.device}, {m.runtime}"
    version = facts.runtimes.get(m.runtime, "")
    emulated = ", emulated" if facts.emulated else ""
    return f"{m.device}: {real_name(facts)}{emulated}; {facts.system}; {m.runtime} {version}".rstrip()


def made(report: Report) -> str:
    """Date, version and commit behind the report, where they are known."""
    versions = report.environment.get("versions")
    version = versions.get("calkd-edge") if isinstance(versions, dict) else None
    commit = report.environment.get("commit")
    date = str(report.environment.get("date") or "").replace("T", " ").replace("+00:00", " UTC")
    parts = [date, f"calkd-edge {version}" if version else "calkd-edge", f"commit {commit}" if commit else ""]
    return " · ".join(part for part in parts if part)


def context(report: Report) -> dict[str, object]:
    """What the first screen shows."""
    m = headline(report.measurements, report.recommendation)
    sentences = [_halves(one.sentence) for one in report.recommendation]
    return {
        "made": made(report),
        "ship": sentences[:MOST_SENTENCES],
        "ship_elsewhere": sentences[MOST_SENTENCES:],
        "shown": m,
        "tiles": tiles(report, m) if m else [],
        "place": place(report, m) if m else "",
    }


def _halves(sentence: str) -> tuple[str, str]:
    """A recommendation as what to do, and why."""
    what, colon, why = sentence.partition(": ")
    return what + colon.strip(), why
