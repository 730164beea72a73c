"""Figures: ticks of scales, labels that do not cover each other, and bounds that are drawn where they are."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from calkd_edge.records import Epoch, Estimate, Percentile
from calkd_edge.release.report import figures
from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.sections.tradeoff import latency_rows, options


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        ([0.3, 0.5], False),
        ([0.3, 60.0], True),
        ([5.0], False),
        ([-2e-4, 1e-4], False),
        ([], False),
        ([0.0], False),
    ],
)
def test_a_scale_spans_its_values_with_few_round_ticks(values, is_log):
    scale = figures.spanning(values, "x", may_be_log=True)
    assert scale.is_log == is_log
    assert all(0 < scale.position(value) < 1 for value in values)
    assert 2 <= len(scale.ticks) <= 8
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert all(len(scale.text(tick)) <= 8 for tick in scale.ticks)


def option(name, p50, top1, size):
    return figures.Option(
        name,
        Estimate(value=p50, low=0.97 * p50, high=1.03 * p50),
        Estimate(value=top1, low=top1 - 0.01, high=top1 + 0.01),
        size,
    )


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.4])
def test_labels_of_the_trade_off_cover_neither_each_other_nor_the_edge(gap):
    chosen = [
        option("teacher", 22.0, 0.91, 94_000_000),
        *(
            option(name, 4.0 * (1 + k * gap), 0.87, 9_000_000)
            for k, name in enumerate(("fp32", "fp16", "int8"))
        ),
    ]
    svg = figures.tradeoff(chosen, title="x")
    texts = re.findall(r'<text class="tick halo" x="([\d.]+)" y="([\d.]+)" text-anchor="start">([^<]+)<', svg)
    boxes = [(float(x), float(y) - 9, float(x) + 5.8 * len(t), float(y)) for x, y, t in texts]
    assert len(boxes) == 4
    assert all(x0 >= 48 and x1 <= 440 for x0, _, x1, _ in boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_every_timed_file_is_in_both_figures_and_the_recommended_one_is_marked(report):
    rows = [m for m in report.measurements if m.calibrated]
    named = ["teacher", "fp32", "fp16", "int8"]
    assert [one.name for one in options(report, rows)] == named
    assert [row.name for row in latency_rows(rows)] == named
    assert all(len(row.marks) == 3 for row in latency_rows(rows))
    untimed = [m.model_copy(update={"latency_ms": None}) for m in rows]
    assert options(report, untimed) == latency_rows(untimed) == []


def test_values_stand_where_the_axis_says(report):
    mark = figures.Mark(0.5, 0.25, 0.75, "full", "half")
    svg = figures.rows(
        [figures.Row("<b>", (mark,))], x=figures.shares("x"), title="t", description="d", bars=True
    )
    ticks = [float(x) for x in re.findall(r'class="grid" d="M([\d.]+)', svg)]
    x = float(re.search(r'class="dot" cx="([\d.]+)"', svg)[1])
    low, high = map(float, re.search(r'class="bar" d="M([\d.]+) [\d.]+H([\d.]+)', svg).groups())
    assert (x, low, high) == pytest.approx((ticks[2], ticks[1], ticks[3]), abs=0.1)
    assert "&lt;b&gt;" in svg


def test_a_map_of_wrong_answers_holds_every_count():
    counts = {(0, 1): 7, (2, 0): 3}
    svg = figures.confusion(["a", "<b>", "c"], counts, title="t", description="d")
    assert re.findall(r'class="count-of"[^>]*>(\d+)<', svg) == ["7", "3"]
    assert svg.count('class="wrong"') == 2
    assert "7 of a taken for &lt;b&gt;" in svg


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1e308, 1e308, 0.0])
def test_a_report_with_figures_that_no_run_writes_still_renders(full_report, value):
    wrong = Estimate(value=value, low=value, high=value)
    percentile = Percentile(value=value, low=value, high=value)
    measurements = tuple(
        m.model_copy(
            update={
                "quality": m.quality.model_copy(update={"top1": wrong}),
                "latency_ms": m.latency_ms
                and m.latency_ms.model_copy(update={"p50": percentile, "p95": percentile}),
                "size_bytes": 0,
            }
        )
        for m in full_report.measurements
    )
    epochs = {"student": (Epoch(epoch=0, loss=value, top1=value, nll=value),)}
    assert render_html(full_report.model_copy(update={"measurements": measurements, "training": epochs}))
