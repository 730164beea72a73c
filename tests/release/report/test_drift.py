"""What a precision did to confidence: figures by hand, and the page that shows them."""

from __future__ import annotations

import numpy as np
import pytest
from release_world import THRESHOLDS

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.release.report import confidence_tables
from calkd_edge.release.report.drift import drift
from calkd_edge.release.report.report import render_html


def of(world, model, precision, *, calibrated):
    return next(
        one
        for one in world
        if (one.measurement.model, one.measurement.precision, one.measurement.calibrated)
        == (model, precision, calibrated)
    )


def test_every_shipped_precision_but_fp32_is_held_against_it_in_three_ways(world):
    found = drift(world, THRESHOLDS)
    assert [one.measurement for one in found] == ["student fp16 on local", "student int8 on local"]
    for one in found:
        assert [shift.calibration for shift in one.shifts] == ["none", "of_fp32", "own"]
        assert all([at.threshold for at in shift.thresholds] == list(THRESHOLDS) for shift in one.shifts)
        assert one.images == 4000


def test_shifts_of_int8_are_what_counting_by_hand_gives(world):
    int8 = of(world, "student", "int8", calibrated=True)
    fp32 = of(world, "student", "fp32", calibrated=True)
    raw = of(world, "student", "int8", calibrated=False).predictions.logits.astype(np.float64)
    carried = raw * fp32.measurement.calibration.scale[0]
    labels = int8.predictions.labels
    reference = fp32.predictions.logits
    shown = {shift.calibration: shift for shift in drift(world, THRESHOLDS)[1].shifts}
    for how, own in (("of_fp32", carried), ("own", int8.predictions.logits)):
        rise = scores.nll_per_image(own, labels).mean() - scores.nll_per_image(reference, labels).mean()
        assert shown[how].nll.value == pytest.approx(rise)
        assert shown[how].nll.low < rise < shown[how].nll.high
        for at in shown[how].thresholds:
            mine, theirs = (scores.confidence(logits) >= at.threshold for logits in (own, reference))
            exact = intervals.tango(int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), len(labels))
            assert (at.coverage.value, at.coverage.low, at.coverage.high) == exact
            right = [
                np.mean(scores.top1(logits)[taken] == labels[taken])
                for logits, taken in ((own, mine), (reference, theirs))
            ]
            assert at.precision.value == pytest.approx(right[0] - right[1])


def test_a_map_carried_over_from_fp32_to_a_sharper_precision_moves_coverage_and_its_own_does_not(maker):
    softer = maker.predictions(sharp=1.0)
    sharper = maker.predictions(sharp=1.6)
    world = [
        maker.evidence(softer, calibrated=False),
        maker.evidence(softer, temperature=1.0),
        maker.evidence(sharper, precision="int8", calibrated=False),
        maker.evidence(softer, precision="int8", temperature=1.6),
    ]
    shown = {shift.calibration: shift.thresholds[0].coverage for shift in drift(world, [0.8])[0].shifts}
    assert shown["own"].value == 0
    assert shown["own"].high < 0.001
    assert shown["of_fp32"].low > 0.05
    assert shown["none"].low > 0.05


def test_without_predictions_of_fp32_nothing_is_claimed(maker):
    lone = maker.evidence(maker.predictions(), precision="int8")
    assert drift([lone], THRESHOLDS) == ()


def test_the_page_shows_thresholds_from_teacher_to_int8_drift_and_further_figures(report):
    page = render_html(report)
    for place in ('id="thresholds"', 'id="further"', "Against fp32 on the same images"):
        assert place in page
    table = confidence_tables.thresholds(report)
    assert [line[0] for line in table.lines[:2]] == ["teacher fp32 on local"] * 2
    assert table.lines[-1][:2] == ("student int8 on local", "yes")
    assert table.head[2:4] == ("taken at 0.5", "right of these")
    for one in (table, confidence_tables.drift(report), confidence_tables.further(report)):
        assert one.lines
        assert all(len(line) == len(one.head) for line in one.lines)
    first = report.measurements[0].quality.thresholds[0]
    assert f"{100 * first.coverage.value:.1f} %" in table.lines[0][2]
