"""latency_summary: percentiles only where the samples carry them, the worst process, every sample counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calkd_edge.metrics.intervals import quantile_bounds
from calkd_edge.metrics.latency import HISTOGRAM_BINS, latency_summary

FACTS = {
    "steady": True,
    "warmup_runs": 20,
    "warmup_seconds": 1.5,
    "load_ms": 30.0,
    "first_ms": 9.0,
    "threads": 1,
    "profile": "quick",
    "measured_at": "2025-01-01T00:00:00Z",
}


def drawn(count: int, *, centre: float = 4.0, seed: int = 0):
    return centre + np.random.default_rng(seed).gamma(2.0, 0.1, count)


@pytest.mark.parametrize(("count", "carried"), [(4, set()), (20, {"p50"}), (1000, {"p50", "p90", "p95"})])
def test_percentiles_are_none_where_the_samples_are_too_few(count, carried):
    found = latency_summary([drawn(count)], **FACTS)
    for name in ("p50", "p90", "p95"):
        percentile = getattr(found, name)
        assert (percentile.value is not None) == (name in carried)
        if name in carried:
            assert percentile.low <= percentile.value <= percentile.high


def test_percentiles_are_numpys():
    samples = drawn(1000)
    found = latency_summary([samples], **FACTS)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
        wanted = np.quantile(samples, share, method="inverted_cdf")
        assert getattr(found, name).value == pytest.approx(wanted)


def test_worst_process_gives_the_percentiles():
    processes = [drawn(500, centre=centre, seed=int(centre)) for centre in (4.0, 7.0, 5.0)]
    found = latency_summary(processes, **FACTS)
    assert found.processes == 3
    assert found.samples == 1500
    assert found.p95.value == quantile_bounds(processes[1], 0.95).value
    assert found.p95.high == quantile_bounds(processes[1], 0.95).high
    assert found.mean_ms == pytest.approx(np.concatenate(processes).mean())


def test_one_process_that_cannot_carry_a_percentile_leaves_none():
    found = latency_summary([drawn(500), drawn(20)], **FACTS)
    assert found.p50.value is not None
    assert found.p95.value is None


def test_throttling_counts_as_fewer_samples():
    waves = np.repeat(drawn(20), 50) + np.random.default_rng(1).normal(0, 0.001, 1000)
    assert latency_summary([waves], **FACTS).effective_samples < 200
    assert latency_summary([drawn(1000)], **FACTS).effective_samples > 500


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=50), min_size=1, max_size=4))
def test_histogram_counts_every_sample(processes):
    found = latency_summary([np.array(each) for each in processes], **FACTS)
    assert sum(found.histogram_counts) == found.samples == sum(map(len, processes))
    assert len(found.histogram_counts) == HISTOGRAM_BINS == len(found.histogram_edges_ms) - 1
    assert (np.diff(found.histogram_edges_ms) > 0).all()


def test_runs_that_differ_by_one_rounding_have_a_histogram():
    found = latency_summary([np.array([0.001, np.nextafter(0.001, 1)])], **FACTS)
    assert sum(found.histogram_counts) == 2
    assert (np.diff(found.histogram_edges_ms) > 0).all()


def test_slowest_run_does_not_stretch_the_histogram():
    samples = np.append(drawn(999), 5000.0)
    found = latency_summary([samples], **FACTS)
    assert found.histogram_edges_ms[-1] < 20
    assert found.mean_ms == pytest.approx(samples.mean())
