"""The first screen says of one file what its record says, and where and by what it was measured."""

from __future__ import annotations

import pytest

from calkd_edge.records import Recommendation
from calkd_edge.release.gates.learnt import NOTHING
from calkd_edge.release.report import headline, numbers
from calkd_edge.release.report.learning import LOST
from calkd_edge.release.report.page import render_html


def recommended(precision):
    return Recommendation(
        device="local",
        runtime="onnxruntime",
        precision=precision,
        file=None,
        sha256=None,
        sentence="Ship it on local: it is good.",
        others=(),
    )


@pytest.mark.parametrize(("precision", "shown"), [("int8", "int8"), (None, "fp32"), ("int4", "fp32")])
def test_the_recommended_file_is_shown_else_the_first_of_the_student(report, precision, shown):
    m = headline.headline(report.measurements, [recommended(precision)])
    assert (m.model, m.precision, m.calibrated) == ("student", shown, True)
    page = render_html(report.model_copy(update={"recommendation": (recommended(precision),)}))
    assert ("the first of the student's files" in page) == (precision != shown)


def test_tiles_hold_the_figures_of_the_file_and_of_what_it_is_compared_with(report):
    m = headline.headline(report.measurements, [recommended("int8")])
    teacher = headline.reference_of(m, report.measurements, model="teacher")
    fp32 = headline.reference_of(m, report.measurements, model="student")
    at = m.quality.thresholds[0]
    tiles = headline.tiles(report, m)
    assert [tile.value for tile in tiles] == [
        numbers.percent(m.quality.top1.value),
        numbers.percent(m.quality.ece.value),
        numbers.milliseconds(m.latency_ms.p50.value),
        numbers.size(m.size_bytes),
        numbers.percent(at.precision.value),
    ]
    assert tiles[0].lines[1] == f"teacher {numbers.percent(teacher.quality.top1.value)}"
    assert tiles[2].lines[1] == f"fp32 {numbers.milliseconds(fp32.latency_ms.p50.value)}"
    assert tiles[3].lines == (f"fp32 {numbers.size(fp32.size_bytes)}",)
    assert tiles[4].lines[0] == f"right of {numbers.percent(at.coverage.value)} taken"


def test_what_was_not_measured_is_said_and_an_emulated_device_shows_no_speed(report):
    m = headline.headline(report.measurements, [])
    bare = m.model_copy(update={"quality": None, "latency_ms": None, "size_bytes": 0})
    assert [tile.value for tile in headline.tiles(report, bare)] == [numbers.MISSING] * 4
    speed = headline.tiles(report, m.model_copy(update={"emulated": True}))[2]
    assert (speed.value, speed.lines[0]) == (numbers.MISSING, "emulated: shows no speed")


def test_device_date_version_and_commit_are_named_where_they_are_known(full_report, report):
    m = headline.headline(full_report.measurements, [])
    assert headline.location(full_report, m) == "local: laptop, 2 cores; Linux 6.1; onnxruntime 1.32.0"
    assert headline.made(full_report) == [
        "2026-10-04 10:12:00 UTC",
        "calkd-edge 0.1.0",
        "commit 0123456789ab",
    ]
    assert headline.made(report) == ["calkd-edge"]
    assert headline.location(report.model_copy(update={"devices": {}}), m) == "local, onnxruntime"


def test_student_that_learned_too_little_is_named_before_the_figures(report):
    kinds = (f"{NOTHING} by student fp32 on local: it is right on 11.4 %.", f"{LOST} 5.00 % of top-1.")
    failed = report.model_copy(update={"conclusions": ("All is well.", kinds[0], kinds[0], kinds[1])})
    screen = render_html(failed).split("</header>")[0]
    places = [screen.index(text) for text in (NOTHING, LOST, '<dl class="tiles">')]
    assert places == sorted(places)
    assert screen.count(NOTHING) == 1
    assert headline.not_learnt(failed.model_copy(update={"verdict": "smoke"})) == []
    assert "alarm" not in render_html(report).split("</header>")[0].split("</style>")[1]


def test_every_section_is_in_the_contents_in_order(full_report):
    html = render_html(full_report)
    contents, page = html.split("</nav>")
    links = [part.split('"')[0].removesuffix("-content") for part in contents.split('<a href="#')[1:]]
    sections = [part.split('"')[0] for part in page.split('<section id="')[1:]]
    assert links == sections
    assert sections[:4] == ["gates", "conclusions", "tradeoff", "measurements"]
    assert {"pictures", "training", "corruptions", "drift"} < set(sections)
    assert all(f'id="{part.split(chr(34))[0]}"' in page for part in contents.split('<a href="#')[1:])
