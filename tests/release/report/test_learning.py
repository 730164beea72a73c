"""What the student has learnt: the sentence for every release, and those for a gap, harm and mirroring."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calkd_edge.records import Component
from calkd_edge.release.report.learning import learning, likely_causes

CROPS = Component(name="resized_crop", settings={"flip": False})
GOOD = {"training_top1": 0.97, "calibration_top1": 0.95, "steps": 9000, "batch_norm_images": 1000}


def right_on(maker, share, seed):
    """Predictions that are right on a share of the images, and else name the next class."""
    logits = np.zeros(maker.logits.shape, np.float32)
    wrong = np.random.default_rng(seed).random(len(maker.labels)) >= share
    named = (maker.labels + wrong) % logits.shape[1]
    logits[np.arange(len(named)), named] = 3
    return maker.predictions().__class__(logits, maker.labels, np.arange(len(named), dtype=np.int64))


def release(maker, **shares):
    return [
        maker.evidence(right_on(maker, share, seed), model=model)
        for seed, (model, share) in enumerate(shares.items())
    ]


def test_student_stands_beside_its_teacher_and_the_largest_class(maker):
    (said,) = learning(release(maker, teacher=0.95, student=0.94), GOOD, CROPS)
    assert said.startswith("The student is right on 9")
    assert "its teacher on 9" in said
    assert "always naming the largest class is right on" in said


def test_large_gap_names_its_likely_causes(maker):
    last = {**GOOD, "training_top1": 0.70, "calibration_top1": 0.66, "steps": 630}
    said = " ".join(learning(release(maker, teacher=0.95, student=0.65), last, CROPS))
    assert "surely lost more than 5.00 % of top-1 to its teacher" in said
    assert "70.0 % of training and 66.0 % of calibration images: it did not fit its training images" in said
    assert "630 steps: more epochs" in said


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        ({"training_top1": 0.99, "calibration_top1": 0.6}, "too few images"),
        ({"training_top1": 0.6, "calibration_top1": 0.3}, "did not fit its training images"),
        ({"steps": 100}, "more epochs"),
    ],
)
def test_cause_follows_from_the_history(last, cause):
    assert cause in likely_causes(last, 0.9, measures_batch_norm=True)


def test_images_are_no_cause_where_training_and_calibration_images_agree():
    fitted = {"training_top1": 0.95, "calibration_top1": 0.9}
    assert likely_causes(fitted, 0.9, measures_batch_norm=True) == ""


@pytest.mark.parametrize("measures", [True, False])
def test_running_statistics_are_a_cause_only_where_the_recipe_keeps_them(measures):
    """A network without batch normalisation has none of its figures, and nothing to set."""
    causes = likely_causes({}, 0.9, measures_batch_norm=measures)
    assert ("measure_batch_norm: true" in causes) == (not measures)


@pytest.mark.parametrize(("baseline", "harm"), [(0.99, True), (0.80, False)])
def test_teaching_that_did_harm_is_told(maker, baseline, harm):
    rows = release(maker, teacher=0.95, student=0.90, baseline=baseline)
    (said,) = [text for text in learning(rows, GOOD, CROPS) if text.startswith("Teaching changed")]
    assert ("Teaching did harm here" in said) == harm
    assert "learned from labels alone" in said


def test_mirrored_images_that_are_not_recognised_are_told_where_training_did_not_mirror(maker):
    rows = release(maker, teacher=0.95, student=0.94)
    last = {**GOOD, "calibration_top1_mirrored": 0.7}
    assert learning(rows, last, CROPS)[-1].startswith("Left and right matter")
    few = [item.measurement.calibration.model_copy(update={"images": 20}) for item in rows]
    small = [
        dataclasses.replace(item, measurement=item.measurement.model_copy(update={"calibration": fit}))
        for item, fit in zip(rows, few, strict=True)
    ]
    chance = {**GOOD, "calibration_top1_mirrored": 0.8}
    assert learning(rows, chance, CROPS)[-1].startswith("Left and right")
    assert not learning(small, chance, CROPS)[-1].startswith("Left and right")
    mirrored = CROPS.model_copy(update={"settings": {"flip": True}})
    assert not learning(rows, last, mirrored)[-1].startswith("Left and right")
