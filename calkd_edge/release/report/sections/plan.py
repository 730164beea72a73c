"""Section Plan: the stages of the run, their fingerprints and times."""

from __future__ import annotations

from calkd_edge.records import Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, Table, packaged


def _context(report: Report) -> Context | None:
    if not report.plan:
        return None
    lines = [
        (s.stage, s.fingerprint[:12], numbers.seconds(s.seconds), "yes" if s.reused else "")
        for s in report.plan
    ]
    return {
        "stages": Table(("stage", "fingerprint", "time", "reused"), tuple(lines)),
        "reused": sum(stage.reused for stage in report.plan),
        "total_seconds": numbers.seconds(sum(stage.seconds for stage in report.plan if not stage.reused)),
    }


PLAN = Section("plan", "Plan", packaged("plan"), _context, folded=True)
