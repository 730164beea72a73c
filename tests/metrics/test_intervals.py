"""Intervals against hand calculations, independent implementations and small simulations of coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from calkd_edge.metrics import intervals as iv


@pytest.mark.parametrize(("bounds_of", "method"), [(iv.clopper_pearson, "exact"), (iv.wilson, "wilson")])
@given(n=st.integers(1, 500), data=st.data())
def test_bounds_of_a_proportion_are_those_of_scipy(bounds_of, method, n, data):
    k = data.draw(st.integers(0, n))
    bounds = bounds_of(k, n)
    theirs = stats.binomtest(k, n).proportion_ci(confidence_level=0.90, method=method)
    assert bounds.low == pytest.approx(theirs.low, abs=1e-11)
    assert bounds.high == pytest.approx(theirs.high, abs=1e-11)


@pytest.mark.parametrize("limit", [0.1, 0.5, 0.9, 0.99])
def test_exact_bounds_keep_their_level_at_every_number_of_images(limit):
    """How often a gate on top-1 passes a model whose top-1 is the limit: summed, not drawn."""
    for n in (1, 2, 3, 5, 10, 29, 30, 100, 300):
        passing = [k for k in range(n + 1) if iv.clopper_pearson(k, n).low >= limit]
        assert not passing or stats.binom.sf(passing[0] - 1, n, limit) <= 0.05 + 1e-9


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_counts_that_are_no_proportion_are_refused(k, n):
    for bounds_of in (iv.clopper_pearson, iv.wilson):
        with pytest.raises(ValueError, match="not a proportion"):
            bounds_of(k, n)


def score_by_maximum_likelihood(b: int, c: int, n: int, difference: float) -> float:
    """Tango's statistic with its nuisance parameter found by numeric maximisation of the likelihood."""

    def loss(q: float) -> float:
        p = np.array([q + difference, q, 1 - 2 * q - difference])
        counts = np.array([b, c, n - b - c])
        return -float((counts * np.log(np.maximum(p, 1e-300)))[counts > 0].sum())

    edges = (max(0.0, -difference), (1 - difference) / 2)
    q = optimize.minimize_scalar(loss, bounds=edges, method="bounded", options={"xatol": 1e-13}).x
    return (b - c - n * difference) / np.sqrt(n * (2 * q + difference - difference**2))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 5, 200), (1, 9, 60), (40, 38, 1000), (3, 3, 50)])
def test_tango_bounds_are_where_the_score_test_turns(b, c, n):
    bounds = iv.tango(b, c, n)
    z = stats.norm.ppf(0.95)
    assert score_by_maximum_likelihood(b, c, n, bounds.low) == pytest.approx(z, abs=1e-4)
    assert score_by_maximum_likelihood(b, c, n, bounds.high) == pytest.approx(-z, abs=1e-4)


@given(st.integers(1, 5000))
def test_tango_without_disagreement_leaves_z_squared_over_n_open(n):
    z2 = stats.norm.ppf(0.95) ** 2
    bounds = iv.tango(0, 0, n)
    assert bounds.high == pytest.approx(z2 / (n + z2), rel=1e-9)
    assert bounds.low == pytest.approx(-bounds.high)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 400))
def test_tango_orders_its_bounds_and_is_antisymmetric(b, c, rest):
    n = b + c + rest
    if n == 0:
        return
    bounds, mirrored = iv.tango(b, c, n), iv.tango(c, b, n)
    assert -1 <= bounds.low <= bounds.value <= bounds.high <= 1
    assert bounds.low == pytest.approx(-mirrored.high, abs=1e-9)


@pytest.mark.parametrize(("p", "q", "n"), [(0.04, 0.03, 400), (0.02, 0.0, 300), (0.10, 0.10, 150)])
def test_tango_covers_what_it_promises_above_and_nearly_below(p, q, n):
    """Score bounds of counts near zero give up a little; a bootstrap would certify anything there."""
    draws = np.random.default_rng(5).multinomial(n, [p, q, 1 - p - q], size=1500)
    bounds = {(b, c): iv.tango(b, c, n) for b, c in {(int(b), int(c)) for b, c, _ in draws}}
    high = np.mean([bounds[int(b), int(c)].high >= p - q for b, c, _ in draws])
    low = np.mean([bounds[int(b), int(c)].low <= p - q for b, c, _ in draws])
    assert high >= 0.93
    assert low >= 0.90


def test_one_point_without_disagreement_needs_271_images_by_the_planning_rule():
    n = iv.images_to_decide_zero_disagreements(0.01)
    assert n == 271
    assert iv.tango(0, 0, n).high < 0.01


@given(st.floats(1e-4, 0.5))
def test_the_number_for_zero_disagreements_suffices_and_is_nearly_minimal(limit):
    n = iv.images_to_decide_zero_disagreements(limit)
    z2 = stats.norm.ppf(0.95) ** 2
    assert z2 / (n + z2) < limit
    assert n - z2 / limit < 1


def test_share_shift_is_none_when_a_model_takes_no_image():
    none, some = np.zeros(5, bool), np.ones(5, bool)
    assert iv.share_shift((none, some), (some, some)) is None


def test_share_shift_of_a_model_against_itself_stays_open_by_what_tango_leaves():
    taken = np.ones(50, bool)
    right = np.arange(50) % 5 > 0
    bounds = iv.share_shift((taken, taken), (right, right))
    assert bounds.value == 0
    assert bounds.high == pytest.approx(iv.tango(0, 0, 50).high)


def test_share_shift_covers_when_the_models_take_different_images():
    generator, n, inside, truth = np.random.default_rng(2), 600, 0, -0.04
    for _ in range(400):
        shared = generator.random(n)
        taken = (shared < 0.7, shared + 0.05 * generator.normal(size=n) < 0.75)
        luck = generator.random(n)
        bounds = iv.share_shift(taken, (luck < 0.90, luck < 0.90 + truth))
        inside += bounds.low <= truth <= bounds.high
    assert inside / 400 >= 0.87


def test_mean_bounds_agree_with_students_interval_on_normal_values():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    bounds = iv.mean_bounds(values, seed=1)[0]
    theirs = stats.t.interval(0.9, 1999, loc=values.mean(), scale=stats.sem(values))
    assert bounds.low == pytest.approx(theirs[0], abs=0.01)
    assert bounds.high == pytest.approx(theirs[1], abs=0.01)


def test_mean_bounds_cover_skewed_values_where_the_normal_interval_falls_short():
    generator = np.random.default_rng(1)
    covered = normal = 0
    for run in range(120):
        values = generator.lognormal(0, 1.3, size=300)
        truth = np.exp(1.3**2 / 2)
        bounds = iv.mean_bounds(values, seed=run)[0]
        covered += bounds.high >= truth
        normal += values.mean() + 1.645 * stats.sem(values) >= truth
    assert covered >= 0.87 * 120
    assert covered > normal


def test_mean_bounds_repeat_with_their_seed_and_of_a_constant_are_the_constant():
    values = np.random.default_rng(3).random((2, 40))
    assert iv.mean_bounds(values, seed=4) == iv.mean_bounds(values, seed=4)
    assert iv.mean_bounds(np.full(10, 2.0), seed=0) == [iv.Bounds(2.0, 2.0, 2.0)]


@pytest.mark.parametrize(("rare", "is_largest"), [(1, True), (2, True), (8, False)])
def test_mean_that_one_or_two_images_carry_is_bounded_by_their_values_alone(rare, is_largest):
    values = np.r_[np.zeros(400), np.full(rare, 50.0)]
    (bounds,) = iv.mean_bounds(values, seed=1)
    assert (bounds.high == 50.0) == is_largest
    assert bounds.high > bounds.value >= bounds.low
    (turned,) = iv.mean_bounds(-values, seed=1)
    assert (turned.low == -50.0) == is_largest


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan]])
def test_mean_bounds_refuse_what_has_no_spread_to_learn_from(values):
    with pytest.raises(ValueError, match="at least 2 finite"):
        iv.mean_bounds(values, seed=0)


def test_binned_resampling_agrees_with_resampling_the_images_themselves():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1, size=1200)
    hit = generator.random(1200) < confidence**1.5
    bins = np.minimum((confidence * 15).astype(np.int64), 14)
    bounds = iv.binned_error(confidence, hit, bins, number=15, resamples=2000, generator=generator)
    plain = []
    for _ in range(2000):
        i = generator.integers(0, 1200, 1200)
        plain.append(np.abs(np.bincount(bins[i], (confidence - hit)[i], 15)).sum() / 1200)
    assert bounds.resampled_over + bounds.resampled_under == pytest.approx(np.mean(plain), abs=0.0008)
    exact = np.abs(np.bincount(bins, confidence - hit, 15)).sum() / 1200
    assert bounds.over + bounds.under == pytest.approx(exact)


def ece_with_bounds(generator, n: int, power: float) -> tuple[iv.Bounds, float]:
    """One sample's bounds and the population ECE of the same bins, for accuracy = confidence ** power."""
    confidence = np.sqrt(generator.uniform(0.1, 1, size=n))
    hit = generator.random(n) < confidence**power
    bins = np.clip(np.ceil(confidence * 15).astype(np.int64) - 1, 0, 14)
    bounds = iv.binned_error(confidence, hit, bins, number=15, resamples=300, generator=generator)
    grid = np.sqrt(np.linspace(0.1, 1, 100_001))
    bin_of = np.clip(np.ceil(grid * 15).astype(np.int64) - 1, 0, 14)
    truth = np.abs(np.bincount(bin_of, grid - grid**power, 15)).sum() / len(grid)
    sd = bounds.influence.std() / np.sqrt(n)
    value, again = bounds.over + bounds.under, bounds.resampled_over + bounds.resampled_under
    return iv.calibration_error_bounds(value, floor=bounds.floor, resampled=again, sd=sd), truth


@pytest.mark.parametrize("power", [1.0, 1.1, 1.4])
def test_ece_bounds_cover_the_population_error(power):
    generator = np.random.default_rng(7)
    drawn = [ece_with_bounds(generator, 2000, power) for _ in range(200)]
    assert np.mean([b.high >= truth for b, truth in drawn]) >= 0.93
    assert np.mean([b.low <= truth for b, truth in drawn]) >= 0.93


def test_effective_size_of_independent_draws_is_nearly_all_and_of_a_markov_chain_what_theory_says():
    generator = np.random.default_rng(0)
    assert iv.effective_size(generator.random(4000) < 0.1) > 3000
    state, chain = 0, []
    for u in generator.random(60_000):
        state = state if u < 0.9 else int(generator.random() < 0.5)
        chain.append(state)
    assert iv.effective_size(chain) == pytest.approx(60_000 * 0.1 / 1.9, rel=0.15)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_effective_size_lies_between_one_and_n(series):
    assert 1 <= iv.effective_size(np.asarray(series) > 2) <= len(series)


def test_quantile_bounds_are_the_binomial_order_statistics_of_independent_samples():
    samples = np.random.default_rng(1).permutation(np.arange(1.0, 201.0))
    bounds = iv.quantile_bounds(samples, 0.9)
    m = int(bounds.effective + 1e-9)
    low = max(r for r in range(1, m + 1) if stats.binom.sf(r - 1, m, 0.9) >= 0.95)
    high = min(s for s in range(1, m + 1) if stats.binom.cdf(s - 1, m, 0.9) >= 0.95)
    assert bounds.value == 180
    assert bounds.low == np.floor(low * 201 / (m + 1))
    assert bounds.high == np.ceil(high * 201 / (m + 1))


def test_p95_needs_59_effective_runs_for_its_upper_bound():
    generator = np.random.default_rng(0)
    assert iv.quantile_bounds(generator.random(58), 0.95).value is None
    assert iv.quantile_bounds(generator.random(58), 0.95).high is None
    carried = [iv.quantile_bounds(np.random.default_rng(s).random(59), 0.95) for s in range(40)]
    series = [fewer for fewer in carried if fewer.effective >= 59]
    assert series
    assert all(fewer.high is not None for fewer in series)


def test_a_throttled_series_is_worth_few_runs_and_gets_wide_bounds():
    generator = np.random.default_rng(0)
    hot = np.repeat(generator.random(20) < 0.4, 100)
    bounds = iv.quantile_bounds(5 + 3 * hot + generator.random(2000), 0.9)
    loose = iv.quantile_bounds(generator.permutation(5 + 3 * hot + generator.random(2000)), 0.9)
    assert bounds.effective < 0.1 * loose.effective


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95]))
def test_quantile_bounds_hold_their_value_between_them(samples, q):
    bounds = iv.quantile_bounds(samples, q)
    if bounds.value is None:
        assert bounds.low is None or bounds.high is None
    else:
        assert bounds.low <= bounds.value <= bounds.high


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_worst_process_bounds_all_others(seed):
    generator = np.random.default_rng(seed)
    processes = [generator.gamma(2, size=200) * factor for factor in (1, 1.1, 1.5)]
    worst = iv.worst_quantile(processes, 0.5)
    each = [iv.quantile_bounds(process, 0.5) for process in processes]
    assert worst.value == max(process.value for process in each)
    assert worst.high == max(process.high for process in each)
    assert worst.low <= max(process.low for process in each)
    assert worst.low <= worst.value


def test_a_process_that_cannot_carry_the_percentile_leaves_it_unknown():
    assert iv.worst_quantile([np.arange(500.0), np.arange(20.0)], 0.95).value is None


def test_images_to_decide_ece_follow_the_rule_of_thumb_and_none_helps_a_broken_limit():
    facts = {"filled_bins": 15, "variance": 0.127, "floor": 0.015}
    assert iv.images_to_decide_ece(**facts, error=0.012, limit=0.02) == 5715
    assert iv.images_to_decide_ece(**facts, error=0.03, limit=0.05) == 3096
    assert iv.images_to_decide_ece(**facts, error=0.05, limit=0.05) is None
