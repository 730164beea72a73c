"""What a release pipeline reads: JUnit XML and a summary in Markdown."""

from __future__ import annotations

from xml.etree import ElementTree

from calkd_edge.release.judgement import problem_of
from calkd_edge.release.report.pipelines import junit, markdown


def test_every_gate_is_a_case_with_its_outcome(report):
    root = ElementTree.fromstring(junit(report))
    (suite,) = root
    cases = list(suite)
    assert len(cases) == len(report.gates) == int(root.get("tests"))
    ends = {"failed": "failure", "unmeasured": "error", "undecided": "skipped", "passed": None}
    for case, gate in zip(cases, report.gates, strict=True):
        kinds = [child.tag for child in case if child.tag != "system-out"]
        assert kinds == [ends[gate.result]] * (gate.result != "passed")
        assert case.get("classname") == gate.measurement
        assert case.find("system-out").text == gate.sentence
    assert int(suite.get("failures")) == sum(gate.result == "failed" for gate in report.gates)


def test_gates_of_a_smoke_run_are_skipped_and_end_only_gate_with_4(report):
    smoke = report.model_copy(update={"verdict": "smoke"})
    (suite,) = ElementTree.fromstring(junit(smoke))
    assert suite.get("skipped") == suite.get("tests") == str(len(report.gates))
    assert {len(case.findall("skipped")) for case in suite} == {1}
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    problem = problem_of(smoke, again=True)
    assert problem.exit_code == 4
    assert problem.message == f"{report.name} is a smoke run, which decides nothing"
    assert problem_of(smoke) is None


def test_advice_names_the_page_only_where_one_was_written(report):
    for verdict in ("failed", "undecided"):
        ended = report.model_copy(update={"verdict": verdict})
        assert "report.html" in problem_of(ended).remedy
        assert "report" not in problem_of(ended, again=True).remedy


def test_gates_of_two_classes_or_thresholds_are_two_cases(report):
    gate = report.gates[0]
    changes = ({"of_class": "bee"}, {"of_class": "cat"}, {"threshold": 0.5}, {"threshold": 0.9})
    gates = tuple(gate.model_copy(update=change) for change in changes)
    (suite,) = ElementTree.fromstring(junit(report.model_copy(update={"gates": gates})))
    name = f"{gate.metric} {{}} {gate.limit}"
    assert [case.get("name") for case in suite] == [
        name.format(part) for part in ("bee", "cat", "at 0.5", "at 0.9")
    ]


def test_names_of_others_cannot_leave_their_place(report):
    hostile = report.model_copy(update={"name": 'x"><a>\x00\x1b[31m |`<script>'})
    root = ElementTree.fromstring(junit(hostile))
    assert [element.tag for element in root.iter("a")] == []
    assert "<script>" not in markdown(hostile)


def test_the_summary_begins_with_verdict_and_what_to_ship(report):
    lines = markdown(report).splitlines()
    assert lines[0] == f"## {report.name}: {report.verdict}"
    assert lines[2] == report.recommendation[0].sentence
    rows = [line for line in lines if line.startswith("| student") or line.startswith("| teacher")]
    assert len(rows) == sum(m.calibrated for m in report.measurements)
    open_gates = sum(gate.result != "passed" for gate in report.gates)
    assert sum(line.startswith("- ") for line in lines) == open_gates
