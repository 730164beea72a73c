"""Drift of confidence from fp32: figures by hand, and the tables that show them."""

from __future__ import annotations

import numpy as np
import pytest
from release_world import THRESHOLDS

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.release.report.drift import drift
from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.sections import drift as shown_drift
from calkd_edge.release.report.sections import further, thresholds


def row(world, precision, *, calibrated):
    return next(
        item
        for item in world
        if (item.measurement.model, item.measurement.precision, item.measurement.calibrated)
        == ("student", precision, calibrated)
    )


def test_every_shipped_precision_is_compared_with_fp32_under_three_calibrations(world):
    drifts = drift(world, THRESHOLDS)
    assert [item.measurement for item in drifts] == ["student fp16 on local", "student int8 on local"]
    for item in drifts:
        assert [shift.calibration for shift in item.shifts] == ["none", "of_fp32", "own"]
        assert all([row.threshold for row in shift.thresholds] == list(THRESHOLDS) for shift in item.shifts)
        assert item.images == 4000


def test_shifts_of_int8_are_what_counting_by_hand_gives(world):
    int8 = row(world, "int8", calibrated=True)
    fp32 = row(world, "fp32", calibrated=True)
    raw = row(world, "int8", calibrated=False).predictions.logits.astype(np.float64)
    carried = raw * fp32.measurement.calibration.scale[0]
    labels = int8.predictions.labels
    reference = fp32.predictions.logits
    shown = {shift.calibration: shift for shift in drift(world, THRESHOLDS)[1].shifts}
    for how, candidate in (("of_fp32", carried), ("own", int8.predictions.logits)):
        rise = scores.nll_per_image(candidate, labels).mean() - scores.nll_per_image(reference, labels).mean()
        assert shown[how].nll.value == pytest.approx(rise)
        assert shown[how].nll.low < rise < shown[how].nll.high
        for at in shown[how].thresholds:
            above, reference_above = (
                scores.confidence(logits) >= at.threshold for logits in (candidate, reference)
            )
            exact = intervals.tango(
                int((above & ~reference_above).sum()), int((reference_above & ~above).sum()), len(labels)
            )
            assert (at.coverage.value, at.coverage.low, at.coverage.high) == exact
            right = [
                np.mean(scores.top1(logits)[rows] == labels[rows])
                for logits, rows in ((candidate, above), (reference, reference_above))
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
    for part in ('id="thresholds"', 'id="further"', "Against fp32 on the same images"):
        assert part in page
    table = thresholds.thresholds(report)
    assert [line[0] for line in table.lines[:2]] == ["teacher fp32 on local"] * 2
    assert table.lines[-1][:2] == ("student int8 on local", "yes")
    assert table.head[2:4] == ("taken at 0.5", "right of these")
    for shown in (table, shown_drift.drift(report), further.further(report)):
        assert shown.lines
        assert all(len(line) == len(shown.head) for line in shown.lines)
    first = report.measurements[0].quality.thresholds[0]
    assert f"{100 * first.coverage.value:.1f} %" in table.lines[0][2]
