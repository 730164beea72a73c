"""Section Trade-off: accuracy, latency and size of every file on each device, all latencies on one axis."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.records import Estimate, Measurement, Percentile, Report
from calkd_edge.release.report import figures, headline, numbers
from calkd_edge.release.report.section import Context, Figure, Section, calibrated, packaged


def options(report: Report, rows: list[Measurement]) -> list[figures.Option]:
    """The files of a device with accuracy and latency, the recommended one marked."""
    out = []
    for m in rows:
        p50 = _bounded(m.latency_ms.p50) if m.latency_ms is not None else None
        if p50 is not None and m.quality is not None and 0.0 <= m.quality.top1.value <= 1.0:
            ships = m.model == "student" and any(
                headline.is_of(choice, m) for choice in report.recommendation
            )
            out.append(figures.Option(short(m), p50, m.quality.top1, m.size_bytes, ships))
    return out


def short(m: Measurement) -> str:
    """A file's name where the device is known: the teacher, or the precision of the student."""
    if m.model == "student":
        return m.precision
    return m.model if m.precision == "fp32" else f"{m.model} {m.precision}"


MARKS: tuple[tuple[str, figures.MarkKind], ...] = (("p50", "full"), ("p90", "ring"), ("p95", "diamond"))
"""Percentiles and their marks."""


def latency_rows(rows: list[Measurement]) -> list[figures.Row]:
    """p50, p90 and p95 of each timed file with their bounds."""
    lines = []
    for m in rows:
        marks = []
        for name, kind in MARKS:
            value = _bounded(getattr(m.latency_ms, name)) if m.latency_ms is not None else None
            if value is not None:
                hover = f"{short(m)} {name}: {numbers.estimate(value, 'ms')}"
                marks.append(figures.Mark(value.value, value.low, value.high, kind, hover))
        if marks:
            lines.append(figures.Row(short(m), tuple(marks)))
    return lines


def _bounded(value: Percentile) -> Estimate | None:
    if value.value is None or value.low is None or value.high is None or value.low <= 0:
        return None
    return Estimate(value=value.value, low=value.low, high=value.high)


def _figures(report: Report, rows: list[Measurement]) -> list[Figure]:
    """Both figures of one device with a runtime."""
    location = headline.location(report, rows[0])
    drawn = []
    chosen = options(report, rows)
    if chosen:
        svg = figures.tradeoff(chosen, title=f"Trade-off on {location}")
        ships = ", the filled one is recommended" if any(option.recommended for option in chosen) else ""
        caption = f"Top-1 against median latency, with bounds. A circle's area is the file's size{ships}."
        drawn.append(Figure(caption, Markup(svg)))
    lines = latency_rows(rows)
    if lines:
        values = [v for line in lines for mark in line.marks for v in (mark.low, mark.high)]
        scale = figures.spanning(values, "latency (ms)", may_be_log=True, from_zero=True)
        values_text = "; ".join(mark.hover for line in lines for mark in line.marks)
        svg = figures.rows(lines, x=scale, title=f"Latency on {location}", description=f"{values_text}.")
        caption = "Latency of one image, with bounds. Dot: p50; ring: p90; diamond: p95."
        drawn.append(Figure(caption, Markup(svg)))
    return drawn


def _context(report: Report) -> Context | None:
    """Emulated devices are left out: their times do not show the speed of a device."""
    by_location: dict[tuple[str, str], list[Measurement]] = {}
    for m, _ in calibrated(report):
        if m.is_released and not m.emulated:
            by_location.setdefault((m.device, m.runtime), []).append(m)
    drawn = [(headline.location(report, rows[0]), _figures(report, rows)) for rows in by_location.values()]
    shown = [(location, both) for location, both in drawn if both]
    return {"locations": shown} if shown else None


TRADEOFF = Section("tradeoff", "Trade-off", packaged("tradeoff"), _context)
