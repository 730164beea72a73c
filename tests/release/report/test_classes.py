"""The figures of classes on the page: the worst first, and what is taken for what."""

from __future__ import annotations

from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.sections.classes import CLASSES as SECTION
from calkd_edge.release.report.sections.classes import classes, confused


def of_files(report):
    return [m for m in report.measurements if m.calibrated]


def test_every_class_has_a_line_and_the_worst_is_first(report):
    table = classes(report)
    names = report.data["classes"]
    assert sorted(line[0] for line in table.lines) == sorted(names)
    student = next(m for m in of_files(report) if m.model == "student")
    lowest = min(student.quality.by_class, key=lambda one: one.recall.value)
    assert table.lines[0][0] == names[lowest.label]
    assert table.lines[0][1] == str(lowest.images)
    assert len(table.head) == len(table.lines[0]) == 2 + len(of_files(report)) + 2
    assert "&lt;script&gt;" in render_html(report)


def test_wrong_answers_are_counted_for_every_file(report):
    table = confused(report)
    first = next(m for m in of_files(report) if m.model == "student").quality
    assert [int(line[2]) for line in table.lines] == [
        one.images for one in first.confused[: len(table.lines)]
    ]
    assert all(line[0] != line[1] for line in table.lines)


def test_a_report_without_figures_of_classes_has_no_such_section(report):
    bare = [
        m.model_copy(update={"quality": m.quality.model_copy(update={"by_class": (), "confused": ()})})
        for m in report.measurements
    ]
    assert SECTION.context(report.model_copy(update={"measurements": tuple(bare)})) is None
