"""Section Further figures of confidence: everything beside ECE, for reading and not for gates."""

from __future__ import annotations

from collections.abc import Callable

from calkd_edge.records import Quality, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, labelled, packaged

FIGURES: tuple[tuple[str, Callable[[Quality], str]], ...] = (
    ("over", lambda q: numbers.percent(q.ece_over.value)),
    ("under", lambda q: numbers.percent(q.ece_under.value)),
    ("chance, 95 %", lambda q: numbers.percent(q.confidence.ece_floor_95)),
    ("p", lambda q: f"{q.confidence.consistency_p:.3f}"),
    ("ACE", lambda q: numbers.percent(q.ace_toplabel.value)),
    ("ACE, classwise", lambda q: numbers.percent(q.ace_classwise.value)),
    ("SCE", lambda q: numbers.percent(q.confidence.ece_classwise)),
    ("RMSCE", lambda q: numbers.percent(q.confidence.rmsce)),
    ("L2, debiased", lambda q: numbers.percent(q.confidence.l2_debiased)),
    ("MCE", lambda q: numbers.percent(q.confidence.mce)),
    ("smECE", lambda q: numbers.percent(q.confidence.smece)),
    ("KS", lambda q: numbers.percent(q.confidence.ks)),
    ("Brier", lambda q: numbers.nats(q.brier.value)),
    ("Brier, top", lambda q: numbers.nats(q.confidence.brier_toplabel)),
    ("gap", lambda q: numbers.nats(q.temperature_gap)),
    ("refinement", lambda q: numbers.nats(q.confidence.nll_refinement)),
    ("AUROC", lambda q: numbers.nats(q.confidence.auroc)),
    ("AURC", lambda q: numbers.nats(q.confidence.aurc)),
)
"""Column and cell of each further figure."""


def further(report: Report) -> Table:
    """Per measurement: every figure of confidence that no other table shows."""
    lines = [
        (
            label.replace(" (uncalibrated)", ""),
            "yes" if m.calibrated else "no",
            *(cell(m.quality) for _, cell in FIGURES),
        )
        for m, label in labelled(report)
        if m.quality is not None
    ]
    return Table(("file", "calibrated", *(name for name, _ in FIGURES)), tuple(lines))


def _context(report: Report) -> Context | None:
    table = further(report)
    return {"further": table} if table.lines else None


FURTHER = Section("further", "Further figures of confidence", packaged("further"), _context, folded=True)
