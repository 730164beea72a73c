"""What chance alone shows: drawn against formulas, and a test that keeps its level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calkd_edge import metrics


def pairs(images: int, generator: np.random.Generator, power: float = 1.0):
    confidence = np.sqrt(generator.uniform(0.1, 1, size=images))
    return confidence, generator.random(images) < confidence**power


def test_consistency_finds_the_floor_of_the_formula_and_the_error_itself():
    confidence, correct = pairs(3000, np.random.default_rng(0))
    result = metrics.consistency(confidence, correct)
    assert result.error == pytest.approx(metrics.expected_calibration_error(confidence, correct))
    assert result.floor == pytest.approx(metrics.noise_floor(confidence), rel=0.05)
    assert result.floor < result.floor_95 < 2 * result.floor


def test_p_values_of_calibrated_answers_are_uniform_and_of_others_small():
    generator = np.random.default_rng(1)
    fair = [
        metrics.consistency(*pairs(400, generator), resamples=200, seed=seed).p_value for seed in range(200)
    ]
    assert stats.kstest(fair, "uniform").pvalue > 0.01
    assert np.mean(np.array(fair) <= 0.05) < 0.10
    off = [
        metrics.consistency(*pairs(2000, generator, 1.4), resamples=200, seed=s).p_value for s in range(20)
    ]
    assert max(off) <= 0.05


def test_answers_that_leave_nothing_to_chance_are_consistent_or_not_at_all():
    certain = np.ones(50)
    assert metrics.consistency(certain, np.ones(50, bool)).p_value == 1
    assert metrics.consistency(certain, np.arange(50) > 0).p_value < 0.01


def test_the_same_seed_draws_the_same():
    answers = pairs(500, np.random.default_rng(2))
    assert metrics.consistency(*answers, seed=4) == metrics.consistency(*answers, seed=4)
