"""Thresholds with a guaranteed precision: by hand, and how often the promise is missed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from calkd_edge.calibration.affine import affine
from calkd_edge.calibration.crossfit import cross_fit
from calkd_edge.metrics.guarantee import GRID, fewest_taken, guaranteed_threshold, lowest_threshold
from calkd_edge.metrics.per_image import confidence as confidence_of


def test_fewer_images_than_can_show_it_give_no_threshold():
    for images, is_enough in ((fewest_taken(0.9), True), (fewest_taken(0.9) - 1, False)):
        threshold = lowest_threshold([0.95] * images, [True] * images, 0.9)
        assert (threshold is not None) == is_enough


def test_the_lowest_of_the_grid_is_taken_above_the_wrong_answers():
    confidence = np.r_[np.full(400, 0.9), np.full(100, 0.4)]
    correct = np.r_[np.ones(400, bool), np.zeros(100, bool)]
    assert lowest_threshold(confidence, correct, 0.99) == min(step for step in GRID if step > 0.4)
    one = guaranteed_threshold((confidence, correct), 0.99, test=(confidence[::2], correct[::2]))
    assert (one.calibration.taken, one.test.taken, one.test.precision.value) == (400, 200, 1.0)
    none = guaranteed_threshold((confidence[400:], correct[400:]), 0.99, test=(confidence, correct))
    assert (none.threshold, none.calibration, none.test) == (None, None, None)


def test_a_threshold_of_the_grid_takes_the_probability_that_it_is_in_float32():
    images = 2 * fewest_taken(0.99)
    same = np.full(images, 0.9, np.float32)
    confidence, correct = np.r_[same, np.full(images, 0.85)], np.arange(2 * images) < images
    assert lowest_threshold(confidence, correct, 0.99) == 0.855
    single = np.r_[same, np.full(images, np.nextafter(np.float32(0.9), np.float32(0)))]
    one = guaranteed_threshold((single, correct), 0.99)
    assert (one.threshold, one.calibration.taken) == (0.9, images)


@pytest.mark.parametrize("power", [1.0, 1.6], ids=["calibrated", "overconfident"])
def test_the_promise_is_missed_in_at_most_one_of_twenty_draws(power):
    """A population whose precision above each threshold is known."""
    draw, wanted, draws = np.random.default_rng(5), 0.9, 400
    population = np.sort(draw.uniform(0.5, 1.0, 100_000))
    chance = population**power
    above = np.cumsum(chance[::-1])[::-1] / np.arange(len(chance), 0, -1)
    missed = found = 0
    for _ in range(draws):
        rows = draw.integers(0, len(population), 600)
        threshold = lowest_threshold(population[rows], draw.random(600) < chance[rows], wanted)
        if threshold is not None:
            found += 1
            missed += above[np.searchsorted(population, threshold)] < wanted
    assert missed / draws <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / draws)
    assert found > (0.5 if power == 1.0 else 0.2) * draws, "it is not kept by never giving one"


def test_a_precision_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        lowest_threshold([0.5, 0.5], [True, False], 1.0)


def test_confidences_of_images_that_a_map_was_fitted_to_promise_too_much_and_cross_fitted_ones_do_not():
    """20 classes, 500 images, a number for each class and a matrix: what the fit has learnt by heart."""
    draw, wanted, draws, classes = np.random.default_rng(2), 0.9, 40, tuple(map(str, range(20)))
    logits = draw.normal(0, 6.0, (20_000, 20))
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    chance = np.exp(logits)
    labels = (chance.cumsum(axis=1) > draw.random((20_000, 1)) * chance.sum(axis=1, keepdims=True)).argmax(1)
    fit = partial(affine, classes=classes)
    missed = {"fitted": 0, "cross-fitted": 0}
    for _ in range(draws):
        rows = draw.integers(0, len(logits), 500)
        fitted, folds = cross_fit(fit, logits[rows], labels[rows])
        everywhere = fitted.affine.apply(logits)
        answers = everywhere.argmax(axis=1)
        for name, calibrated in (("fitted", everywhere[rows]), ("cross-fitted", folds.apply(logits[rows]))):
            right = calibrated.argmax(axis=1) == labels[rows]
            threshold = lowest_threshold(confidence_of(calibrated), right, wanted)
            taken = confidence_of(everywhere) >= threshold
            missed[name] += chance[np.arange(len(logits)), answers][taken].mean() < wanted
    assert missed["cross-fitted"] <= 5  # of 40: at a true 5 %, more come once in 250 times
    assert missed["fitted"] > 30
