"""Report, figures, table and conclusions: complete, escaped, offline, the same numbers everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from release_world import facts, latency

from calkd_edge.files import replacing
from calkd_edge.records import Report
from calkd_edge.release.report import figures, numbers, page, table
from calkd_edge.release.report.conclusions import conclusions
from calkd_edge.release.report.definitions import definitions
from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.repair_page import TERMS
from calkd_edge.release.report.report import write_report
from calkd_edge.release.report.section import Section


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    parts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            parts.append(data)

    Reader().feed(html)
    return " ".join(" ".join(parts).replace("\u00a0", " ").split())


def test_the_page_says_verdict_first_and_holds_every_gate_and_conclusion(report):
    html = render_html(report)
    seen = text_of(html)
    assert seen.index(f" {report.verdict} ") < seen.index("Gates")
    for gate in report.gates:
        assert gate.sentence.replace(f": {gate.result}", "", 1) in seen
    for sentence in report.conclusions:
        assert sentence in seen


def test_the_page_needs_no_network_and_no_script(full_report):
    html = render_html(full_report)
    assert "http" not in html.replace("http-equiv", "")
    assert not re.search(r"<script|<link|<iframe|@import|url\(", html)
    assert set(re.findall(r' src="([^:]*:)', html)) == {"data:"}
    assert "default-src 'none'" in html


def test_names_and_paths_from_outside_are_escaped(report):
    hostile = report.model_copy(update={"name": "<script>steal()</script>", "conclusions": ("a <b> c",)})
    html = render_html(hostile)
    assert "<script>" not in html
    assert "&lt;script&gt;steal()" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "/somewhere/&lt;b&gt;data" in html


def test_a_section_is_one_line_and_its_template(report, tmp_path, monkeypatch):
    template = tmp_path / "heaviest.html.j2"
    template.write_text('{% from "macros.html.j2" import grid %}<p>{{ file }} weighs {{ size }}.</p>')

    def heaviest(report: Report) -> dict[str, object]:
        largest = max(report.measurements, key=lambda m: m.size_bytes)
        return {"file": f"<{largest.file}>", "size": numbers.size(largest.size_bytes)}

    monkeypatch.setattr(
        page, "SECTIONS", [*page.SECTIONS, Section("heaviest", "Heaviest", template, heaviest)]
    )
    html = page.render_html(report)
    assert (
        '<section id="heaviest">\n<h2>Heaviest</h2>\n<p>&lt;teacher.fp32.onnx&gt; weighs 94.0 MB.</p>' in html
    )
    assert html.index('id="definitions"') < html.index('id="heaviest"')


def test_every_definition_has_its_numbers_filled_in(report):
    meanings = dict(definitions(bins=12))
    assert "12 equal-width bins" in meanings["ECE"]
    assert "Below 1,000 images" in meanings["ECE"]
    assert any(term.startswith("top1_drop, nll_rise") for term in meanings)
    assert not any("{" in text for pair in meanings.items() for text in pair)
    assert set(TERMS) <= set(meanings)


def test_figures_are_well_formed_and_described(full_report):
    drawn = re.findall(r"<svg.*?</svg>", render_html(full_report), flags=re.S)
    for figure in drawn:
        root = ElementTree.fromstring(figure)
        assert root.find("title").text
        assert len(root.find("desc").text) > 20
        assert "nan" not in figure


def test_a_hostile_title_is_escaped_in_a_figure(report):
    quality = report.measurements[0].quality
    assert "<script>" not in figures.reliability(quality, title="<script>")


def test_the_json_reads_back_as_the_same_report(report, tmp_path):
    as_json, as_html = write_report(report, tmp_path / "new")
    assert Report.model_validate_json(as_json.read_text()) == report
    assert as_html.read_text() == render_html(report)
    assert sorted(p.name for p in as_json.parent.iterdir()) == ["report.html", "report.json"]


def test_equal_reports_give_equal_bytes(report):
    assert render_html(report) == render_html(report)


def test_a_report_with_nothing_measured_still_renders(report):
    bare = report.model_copy(
        update={"measurements": (), "gates": (), "conclusions": (), "plan": (), "devices": {}}
    )
    assert "sets no gates" in text_of(render_html(bare))
    first = report.measurements[1].model_copy(
        update={"quality": None, "calibration": None, "latency_ms": None}
    )
    assert render_html(report.model_copy(update={"measurements": (first,)}))


def half_written(target):
    with replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        half_written(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_rows_hold_the_figures_of_the_gates(report):
    rows = table.rows(report)
    assert len(rows) == len(report.measurements)
    assert all(len(row.cells) == len(table.COLUMNS) for row in rows)
    int8 = next(row for row in rows if row.label == "student int8 on local")
    measured = next(m for m in report.measurements if m.precision == "int8" and m.calibrated)
    assert int8.top1.startswith(numbers.percent(measured.quality.top1.value))
    assert int8.verdict in ("passed", "undecided", "failed")
    raw = next(row for row in rows if row.label == "student int8 (uncalibrated) on local")
    assert (raw.calibrated, raw.temperature, raw.p50, raw.verdict) == ("no", "–", "–", "–")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0012, "0.12 %"),
        (-0.0012, "-0.12 %"),
        (-1e-9, "0.00 %"),
        (0.7321, "73.2 %"),
        (1.0, "100.0 %"),
        (None, "–"),
    ],
)
def test_percent(value, expected):
    assert numbers.percent(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(999, "999 bytes"), (2_600_000, "2.60 MB"), (94e6, "94.0 MB"), (None, "–")]
)
def test_size(value, expected):
    assert numbers.size(value) == expected


def int8_against_fp32(maker, *, p50: float, isa: tuple[str, ...] = ("avx2",), **changes):
    p = maker.predictions(images=1000)
    rows = [maker.evidence(p), maker.evidence(p, precision="int8", p50=p50, size=2_400_000, **changes)]
    return " ".join(conclusions(rows, devices={"local": facts(isa=isa)}))


def test_int8_that_is_faster_is_reported_with_its_ratio(maker):
    text = int8_against_fp32(maker, p50=2.0)
    assert "Student int8 on local is faster than fp32" in text
    assert "0.50 of the time" in text
    assert "0.26 of the size" in text


def test_slow_int8_is_explained_by_the_instructions_the_cpu_lacks(maker):
    text = int8_against_fp32(maker, p50=6.0)
    assert "Student int8 on local is slower than fp32" in text
    assert "no VNNI or dot-product int8 instructions" in text
    text = int8_against_fp32(maker, p50=6.0, isa=("avx2", "avx512_vnni"))
    assert "VNNI" not in text
    assert "converting between int8 and float32" in text


def test_the_cost_in_time_of_layers_in_float32_is_stated_against_int8(maker):
    p = maker.predictions(images=1000)
    rows = [
        maker.evidence(p, precision=name, p50=p50)
        for name, p50 in (("fp32", 4.0), ("int8", 2.0), ("int8_mixed", 2.5))
    ]
    text = " ".join(conclusions(rows))
    assert "layers in float32" not in text  # there are none
    noted = rows[2].measurement.model_copy(update={"notes": ("3 of 53 layers stay in float32 (a, b, c)",)})
    text = " ".join(conclusions([*rows[:2], replace(rows[2], measurement=noted)]))
    assert "int8_mixed on local: with its layers in float32 it takes 1.25 of int8's time" in text
    text = " ".join(conclusions([rows[0], replace(rows[2], measurement=noted)]))
    assert "int8 was not measured" in text


def test_equal_speed_is_no_gain_and_emulated_times_show_no_speed(maker):
    assert "is not measurably faster" in int8_against_fp32(maker, p50=4.0)
    assert "emulated device and do not show speed" in int8_against_fp32(maker, p50=1.0, emulated=True)


def test_an_emulated_row_is_marked_and_shows_no_times(maker, report):
    p = maker.predictions(images=100)
    measured = [maker.evidence(p), maker.evidence(p, device="board", emulated=True)]
    rows = table.rows(
        report.model_copy(update={"measurements": tuple(item.measurement for item in measured)})
    )
    assert [row.device for row in rows] == ["local · onnxruntime", "board · onnxruntime, emulated"]
    assert (rows[1].p50, rows[1].p95) == ("emulated", "emulated")
    assert rows[0].p50.startswith("4.15 ms")


def test_the_temperature_counts_as_changed_only_beyond_two_standard_errors(maker):
    assert "did not change the temperature measurably" in int8_against_fp32(maker, p50=4.0, temperature=1.42)
    assert "int8 changed the temperature" in int8_against_fp32(maker, p50=4.0, temperature=1.6)


def test_ece_that_rose_and_a_temperature_that_is_not_enough_are_stated(maker):
    good, bad = maker.predictions(), maker.predictions(sharp=3.0)
    text = " ".join(conclusions([maker.evidence(good, calibrated=False), maker.evidence(bad)]))
    assert "Calibration did not lower the ECE of student fp32 on local" in text
    assert "A temperature is not enough for student fp32 on local" in text
    fine = " ".join(conclusions([maker.evidence(bad, calibrated=False), maker.evidence(good)]))
    assert "Calibration lowered ECE everywhere" in fine
    assert "not enough" not in fine
    same = " ".join(conclusions([maker.evidence(good, calibrated=False), maker.evidence(good)]))
    assert "Calibration left the ECE unchanged of student fp32 on local" in same
    assert "lowered" not in same


def test_an_unsteady_series_is_marked(report):
    shaky = latency(4.0).model_copy(update={"steady": False})
    m = report.measurements[1].model_copy(update={"latency_ms": shaky})
    assert "NOT STEADY" in render_html(report.model_copy(update={"measurements": (m,)}))


def test_a_latency_without_histogram_draws_nothing():
    bare = latency(4.0).model_copy(update={"histogram_counts": (), "histogram_edges_ms": ()})
    assert figures.latency(bare, title="x") == ""
