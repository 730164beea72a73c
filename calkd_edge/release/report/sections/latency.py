"""Section Latency: the distribution of latency of each timed file."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.metrics.latency import BUSY_CORES
from calkd_edge.records import LatencySummary, Report
from calkd_edge.release.report import figures
from calkd_edge.release.report.section import Context, Figure, Section, labelled, packaged


def _context(report: Report) -> Context | None:
    """Emulated devices are left out: their times do not show the speed of a device."""
    drawn = []
    for m, label in labelled(report):
        if m.latency_ms is None or m.emulated:
            continue
        svg = figures.latency(m.latency_ms, title=f"Latency of {label}")
        if svg:
            drawn.append(Figure(f"{label}: {_conditions(m.latency_ms)}", Markup(svg)))
    return {"latencies": drawn} if drawn else None


def _conditions(summary: LatencySummary) -> str:
    return (
        f"{summary.samples:,} runs worth {summary.effective_samples:,.0f} independent ones, "
        f"{summary.profile}, {summary.processes} {'process' if summary.processes == 1 else 'processes'}, "
        f"{summary.threads} {'thread' if summary.threads == 1 else 'threads'}, "
        f"measured {summary.measured_at}{_other_work(summary)}{'' if summary.steady else ', NOT STEADY'}"
    )


def _other_work(summary: LatencySummary) -> str:
    if summary.others_cores is None or summary.others_cores < BUSY_CORES:
        return ""
    return f", while other work used {summary.others_cores:.1f} cores"


LATENCY = Section("latency", "Distribution of latency", packaged("latency"), _context, folded=True)
