"""The ratio of medians: right in the middle, wide enough between processes, exact on what is known."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge.benchmarking.ratios import ratio


def drawn(centre, count=2000, seed=0):
    return centre + np.random.default_rng(seed).gamma(2.0, 0.01, count)


def test_same_series_is_one_and_its_interval_holds_one():
    found = ratio([drawn(1.0)], [drawn(1.0, seed=1)], paired=True)
    assert found.value == pytest.approx(1, abs=0.01)
    assert found.low <= 1 <= found.high
    assert found.processes == 1


def test_half_the_time_is_half():
    found = ratio([drawn(1.0) / 2], [drawn(1.0)], paired=True)
    assert found.value == pytest.approx(0.5)
    assert found.low < 0.5 < found.high < 0.52


def test_three_processes_widen_it_by_students_t():
    # Figures of processes without spread inside: the interval is Student's, by hand.
    own = [np.full(100, value) for value in (1.0, 1.1, 1.2)]
    other = [np.full(100, 1.0)] * 3
    found = ratio(own, other, paired=True)
    logs = np.log([1.0, 1.1, 1.2])
    reach = 4.303 * logs.std(ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(np.exp(logs.mean()))
    assert found.high == pytest.approx(np.exp(logs.mean() + reach))
    assert found.low == pytest.approx(np.exp(logs.mean() - reach))


def test_drift_that_meets_both_falls_out_only_of_pairs():
    drift = (1.0, 1.3, 1.6)
    own, other = ([centre * drawn(1.0, seed=seed) for centre in drift] for seed in (0, 1))
    paired, apart = (ratio(own, other, paired=flag) for flag in (True, False))
    assert paired.high < 1.02
    assert apart.high > 1.2


@pytest.mark.parametrize("paired", [True, False])
def test_interval_covers_processes_that_differ(paired):
    """Processes whose medians spread by 3 %: the true ratio, 1, lies inside in about 95 of 100."""
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        own, other = (
            [np.exp(0.03 * generator.standard_normal()) + generator.gamma(2.0, 0.001, 200) for _ in range(3)]
            for _ in range(2)
        )
        found = ratio(own, other, paired=paired)
        inside += found.low <= 1 <= found.high
    assert inside >= 0.9 * 200


def test_nothing_has_no_ratio():
    with pytest.raises(ValueError, match="samples of both"):
        ratio([np.array([])], [drawn(1.0)], paired=True)
