"""The report for release pipelines: gates as JUnit XML, and a summary in Markdown."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from calkd_edge.files.visible import visible
from calkd_edge.records import GateResult, Report
from calkd_edge.release.report import table
from calkd_edge.release.report.markdown import cell
from calkd_edge.release.report.page import lead, summary, template_environment

SMOKE = "smoke run, which decides nothing"


def junit(report: Report) -> str:
    """The gates as JUnit XML: one suite, one case for each gate and measurement.

    A failed gate is a failure, one that was not measured an error, an undecided one is skipped with its
    reason: what a pipeline does with it is decided by the exit code. All gates of a smoke run are skipped.
    The measurement is the class name.
    """
    is_smoke = report.verdict == "smoke"
    ends = [SKIPPED if is_smoke else _ENDS.get(gate.result) for gate in report.gates]
    counts = Counter(ends)
    totals = {
        "tests": str(len(ends)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts[SKIPPED]),
    }
    root = ElementTree.Element("testsuites", {"name": "calkd-edge", **totals})
    suite = ElementTree.SubElement(root, "testsuite", {"name": visible(report.name), **totals})
    for gate, end in zip(report.gates, ends, strict=True):
        _case(suite, gate, end, f"{SMOKE}: {gate.sentence}" if is_smoke else gate.sentence)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


SKIPPED = "skipped"
_ENDS = {"failed": "failure", "unmeasured": "error", "undecided": SKIPPED}
"""The element of a case that did not pass."""


def _case(suite: ElementTree.Element, gate: GateResult, end: str | None, message: str) -> None:
    name = f"{gate.label} {gate.limit}"
    case = ElementTree.SubElement(
        suite, "testcase", {"name": visible(name), "classname": visible(gate.measurement), "time": "0"}
    )
    if end is not None:
        element = ElementTree.SubElement(case, end, {"message": visible(message)})
        if end != SKIPPED:
            element.set("type", gate.result)
    ElementTree.SubElement(case, "system-out").text = visible(gate.sentence)


def markdown(report: Report) -> str:
    """A summary for a person who reads a pipeline's page: verdict, what to ship, figures, open gates."""
    environment = template_environment(autoescape=False)
    environment.filters["cell"] = cell
    return environment.get_template("summary.md.j2").render(
        report=report,
        lead=lead(report),
        summary=summary(report),
        columns=table.COLUMNS,
        rows=[row for row in table.rows(report) if row.calibrated == "yes"],
        open_gates=[gate for gate in report.gates if gate.result != "passed"],
    )
