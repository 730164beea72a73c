"""Gates on corrupted images, on images of no class, and on wrong answers over a threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from release_world import other_images, unknown

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.report.other_images import other_images as sentences


def judged(item, metric, limit, threshold=0.8):
    gate = GateSection(metric=metric, max=limit, threshold=threshold)
    return judge([gate], [item]).gates[0]


@pytest.fixture
def item(maker):
    return maker.evidence(maker.predictions(noise=0.4))


def test_wrong_answers_over_a_threshold_are_counted_among_all_images(item):
    logits = item.predictions.logits.astype(np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    wrong = (probabilities.max(1) >= 0.8) & (logits.argmax(1) != item.predictions.labels)
    result = judged(item, "confident_wrong", 0.5)
    expected = intervals.clopper_pearson(int(wrong.sum()), len(wrong))
    assert (result.value, result.low, result.high) == pytest.approx(expected)


def test_worst_corruption_is_judged_and_named(item):
    rows = other_images(
        ("none", 0, 2000, 0.01, 0.9), ("noise", 1, 2000, 0.03, 0.8), ("blur", 3, 2000, 0.2, 0.5)
    )
    corrupted = replace(item, corrupted=rows)
    result = judged(corrupted, "ece_corrupted", 0.1, None)
    assert (result.value, result.result) == (0.2, "failed")
    assert "blur, severity 3" in result.sentence
    assert result.low < rows[2].ece.low  # moved away, as it is the worst of two
    assert judged(corrupted, "ece_corrupted", 0.3, None).result == "passed"
    wrong = judged(corrupted, "confident_wrong_corrupted", 0.1)
    assert wrong.value == pytest.approx(0.25)  # half of the images reach 0.8, half of these are right
    elsewhere = judged(corrupted, "confident_wrong_corrupted", 0.1, 0.7)
    assert elsewhere.result == "unmeasured"
    assert "on corrupted images it was not measured at confidence 0.7, only at 0.8" in elsewhere.sentence
    few = replace(item, corrupted=other_images(("noise", 1, 500, 0.3, 0.5)))
    assert judged(few, "ece_corrupted", 0.1, None).result == "undecided"


def test_images_of_no_class_are_judged_by_the_share_that_reaches_the_threshold(item):
    result = judged(replace(item, unknown=unknown(0.8, taken=100, images=400)), "confident_unknown", 0.1)
    assert (result.value, result.result, result.images) == (0.25, "failed", 400)
    assert judged(item, "confident_unknown", 0.1).result == "unmeasured"
    other = judged(replace(item, unknown=unknown(0.8, 100, 400)), "confident_unknown", 0.1, 0.7)
    assert "not measured at confidence 0.7, only at 0.8" in other.sentence


def test_conclusions_say_where_confidence_does_not_hold(item):
    rows = other_images(("none", 0, 2000, 0.01, 0.9), ("noise", 3, 2000, 0.6, 0.13, 0.79))
    worse = replace(item, corrupted=rows, unknown=unknown(0.8, 100, 400))
    names = {id(item.measurement): "int8"}
    text = list(sentences([worse], names))
    assert text[0].startswith("int8 is right on 13.0 % and 79.0 % confident on 2,000 test images with noise")
    assert text[1].startswith("int8 reaches confidence 0.8 on 25.0 %")
    sound = replace(item, corrupted=rows[:1], unknown=unknown(0.8, 0, 400))
    assert list(sentences([sound], names)) == []


def test_confidence_that_nobody_reaches_shows_nothing(maker):
    flat = maker.evidence(maker.predictions(sharp=0.05))
    result = judged(flat, "confident_wrong", 0.01, threshold=0.9)
    assert result.result == "undecided"
    assert "no image reaches confidence 0.9; a lower threshold is needed" in result.sentence


def test_images_of_no_class_show_nothing_where_no_image_reaches_the_threshold(maker):
    flat = maker.evidence(maker.predictions(sharp=0.05))
    result = judged(replace(flat, unknown=unknown(0.8, 0, 400)), "confident_unknown", 0.1)
    assert result.result == "undecided"
