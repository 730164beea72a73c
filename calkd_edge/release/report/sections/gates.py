"""Section Gates: every limit with its outcome, what needs attention first."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report.section import Context, Section, packaged

OUTCOMES = ("failed", "unmeasured", "undecided", "passed")
"""From the one that needs most attention to the one that needs none."""


def _context(report: Report) -> Context:
    ranked = sorted(report.gates, key=lambda gate: OUTCOMES.index(gate.result))
    return {
        "gates": [(gate.result, gate.sentence.replace(f": {gate.result}", "", 1)) for gate in ranked],
    }


GATES = Section("gates", "Gates", packaged("gates"), _context)
