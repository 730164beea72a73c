"""The expected time counts what is trained: training images, epochs, and passes of a live teacher."""

from __future__ import annotations

import pytest
from tiny_run import recipe_with, written

from calkd_edge.pipeline import estimate
from calkd_edge.pipeline.notices import notices
from calkd_edge.pipeline.options import Options
from calkd_edge.pipeline.preparation import make_plan, prepare_run

SECONDS_PER_IMAGE = 0.001


@pytest.fixture(autouse=True)
def same_speed(monkeypatch):
    """Every network takes a millisecond for an image, forward and backward."""
    monkeypatch.setattr(estimate, "_seconds_per_image", lambda *network: SECONDS_PER_IMAGE)


def planned(tmp_path, **changes):
    tree = recipe_with(**changes)
    return make_plan(prepare_run(written(tmp_path, tree), store=tmp_path / "store", out=tmp_path / "out"))[0]


def seconds(plan) -> float:
    return estimate.training_seconds(plan, set(), "cpu")


def distill(**changes):
    return {**recipe_with()["distill"], **changes}


def test_only_training_images_count(tmp_path):
    """600 training images, of which 120 calibrate; 300 test images. Two epochs each, one stored view.

    After each epoch a training scores the calibration images; at the end those five times, and training
    images three times: to measure normalisation as they are and as learnt, and for their accuracy.
    """
    plan = planned(tmp_path)
    assert estimate.train_images(plan.checked) == 480
    looked_at = (2 + 2 + 3) * 120 + 3 * 480
    assert seconds(plan) == pytest.approx(SECONDS_PER_IMAGE * (480 * (2 + 2 + 1 / 3) + 2 * looked_at / 3))


def test_teacher_that_runs_in_every_step_counts_for_every_epoch(tmp_path):
    stored, live = (
        planned(tmp_path, distill=distill(epochs=9, soft_labels=section))
        for section in ({"views": 1}, {"live": True})
    )
    assert seconds(live) - seconds(stored) == pytest.approx(SECONDS_PER_IMAGE * 480 * (9 - 1) / 3)


def test_finished_stages_cost_nothing_and_long_ones_are_told_in_hours(tmp_path):
    plan = planned(tmp_path, distill=distill(epochs=20_000))
    done = {stage.fingerprint for stage in plan.stages}
    assert estimate.training_seconds(plan, done, "cpu") == 0
    assert "about 2 h" in estimate.sentence(plan, {plan.teacher.fingerprint}, "cpu")


def test_short_times_are_told_to_the_half_minute():
    """A whole minute would be a third of three."""
    told = [estimate.in_words(seconds) for seconds in (1, 50, 170, 200, 599, 601, 7260)]
    assert told == ["0.5 min", "1 min", "3 min", "3.5 min", "10 min", "11 min", "2 h 1 min"]


def test_trial_steps_are_in_the_number_format_of_their_training(tmp_path, monkeypatch):
    timed = []
    monkeypatch.setattr(estimate, "_seconds_per_image", lambda *network: timed.append(network[4:5]) or 0.001)
    seconds(planned(tmp_path, distill=distill(autocast="bf16")))
    assert timed == [(None,), ("bf16",), ()]  # the teacher, the student, the teacher's pass


@pytest.mark.parametrize(("accelerator", "is_told"), [("cpu", True), ("cuda", False)])
def test_number_formats_that_slow_a_cpu_are_told(tmp_path, monkeypatch, accelerator, is_told):
    checked = planned(tmp_path, distill=distill(autocast="bf16")).checked
    options = Options(out=tmp_path / "out", store=tmp_path / "store", accelerator=accelerator)
    monkeypatch.setattr("calkd_edge.training.accelerator.chosen_accelerator", lambda name: name)
    told = " ".join(notices(checked, options))
    assert ("distill.autocast: on a CPU" in told) == is_told
