"""The agent's loops: closed ones, paced ones on a clock that the test turns, and what is told beside them."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from jetson_roots import ina3221, plant, zones

from calkd_edge.agent import latency
from calkd_edge.agent.latency import SPIN_NS, measure, warm_up
from calkd_edge.devices.session import open_session

MS = 1_000_000
LOAD = {
    "min_runs": 30,
    "min_seconds": 0.1,
    "warmup_min_runs": 2,
    "warmup_min_seconds": 0.0,
    "warmup_max_seconds": 0.1,
    "warmup_window_seconds": 0.02,
}


class Turned:
    """A clock that moves when it is asked (100 ns), slept on (a little late) or worked on."""

    def __init__(self, work_ns, oversleep_ns=100_000):
        self.now, self.work, self.oversleep_ns = 10**9, itertools.cycle(work_ns), oversleep_ns
        self.slept = 0

    def __call__(self):
        self.now += 100
        return self.now

    def sleep(self, seconds):
        self.slept += 1
        self.now += int(seconds * 1e9) + self.oversleep_ns

    def infer(self, images):
        self.now += next(self.work)
        return {}


@pytest.fixture
def turned(monkeypatch):
    def make(*work_ns, **settings):
        clock = Turned(work_ns, **settings)
        monkeypatch.setattr(latency, "clock", clock)
        monkeypatch.setattr(latency.time, "sleep", clock.sleep)
        return clock

    return make


def began(series):
    return np.array(series.starts) + np.array(series.delays)


def test_paced_runs_begin_at_the_ticks_and_are_counted_from_them(turned):
    clock = turned(1 * MS)
    series = measure(clock, ["a"], 100, 0.0, 100.0)
    assert np.diff(series.starts).tolist() == [10 * MS] * 99
    assert max(series.delays) < 1000, "spinning ends with the tick"
    assert min(series.delays) >= 0
    assert all(MS <= lasted < MS + 2000 for lasted in series.durations)
    assert series.missed(100.0) == 0
    assert clock.slept == 100


def test_sleeping_late_by_less_than_the_spin_does_not_move_a_run(turned):
    series = measure(turned(1 * MS, oversleep_ns=SPIN_NS - 1000), ["a"], 50, 0.0, 100.0)
    assert max(series.delays) < 2000


def test_late_start_counts_as_latency(turned):
    series = measure(turned(1 * MS, oversleep_ns=2 * MS), ["a"], 20, 0.0, 100.0)
    for late, lasted in zip(series.delays, series.durations, strict=True):
        assert late >= 2 * MS - SPIN_NS
        assert lasted >= late + MS


@pytest.mark.parametrize("hz", [7.0, 30.0, 60.0, 333.3])
def test_rate_is_held_to_the_schedule_whatever_its_period(turned, hz):
    series = measure(turned(1 * MS), ["a"], 500, 0.0, hz)
    times = began(series)
    assert 499 / ((times[-1] - times[0]) / 1e9) == pytest.approx(hz, rel=1e-4)


def test_slow_runs_miss_ticks_and_serve_the_newest(turned):
    # 25 ms of work at ticks of 10 ms: the run of tick 0 ends in tick 2, which is served 5 ms late.
    series = measure(turned(25 * MS), ["a"], 10, 0.0, 100.0)
    ticks = [(start - series.starts[0]) // (10 * MS) for start in series.starts]
    assert ticks[:5] == [0, 2, 5, 7, 10]
    assert series.delays[1] == pytest.approx(5 * MS, abs=2000)
    assert series.durations[1] == pytest.approx(30 * MS, abs=2000)
    assert series.missed(100.0) == ticks[-1] + 1 - 10
    assert series.missed(100.0) > 0


def test_stall_misses_its_ticks_and_the_schedule_continues(turned):
    work = [1 * MS] * 5 + [44 * MS] + [1 * MS] * 94
    series = measure(turned(*work), ["a"], 100, 0.0, 100.0)
    assert series.missed(100.0) == 3
    assert {(start - series.starts[0]) % (10 * MS) for start in series.starts} == {0}
    assert max(series.durations) == pytest.approx(44 * MS, abs=2000)


def test_paced_run_meets_both_minima(turned):
    assert len(measure(turned(MS), ["a"], 3, 1.0, 50.0).durations) == 51, "the last ends behind the second"
    assert len(measure(turned(MS), ["a"], 80, 1.0, 50.0).durations) == 80


def test_closed_runs_keep_when_each_began(turned):
    series = measure(turned(2 * MS), ["a"], 10, 0.0)
    assert (np.diff(series.starts) >= 2 * MS).all()
    assert len(series.starts) == len(series.durations) == 10
    assert not len(series.delays)
    assert series.missed(0.0) == 0


def test_warm_up_of_a_paced_run_ends_with_ticks(turned):
    clock = turned(MS)
    job = {**LOAD, "warmup_min_seconds": 0.5, "warmup_max_seconds": 5.0, "rate_hz": 20.0}
    run = warm_up(clock, ["a"], job)
    assert run["seconds"] >= 1.0, "as many closed ones, then ticks"
    assert clock.slept >= 10


class Millisecond:
    """A runtime that takes a millisecond."""

    def infer(self, images):
        end = time.perf_counter_ns() + MS
        while time.perf_counter_ns() < end:
            pass
        return {}


def test_paced_mode_keeps_its_rate_within_a_hundredth():
    series = measure(Millisecond(), ["a"], 120, 0.0, 60.0)
    times = began(series)
    ticks = len(times) + series.missed(60.0)
    # A machine that stalls misses ticks; those that are served still stand on the schedule.
    assert (ticks - 1) / ((times[-1] - times[0]) / 1e9) == pytest.approx(60.0, rel=0.01)
    grid = (np.array(series.starts) - series.starts[0]) * 60.0 / 1e9
    np.testing.assert_allclose(grid, np.round(grid), atol=1e-6)


@pytest.fixture(scope="module")
def net(exported):
    return exported("resnet20")


@pytest.fixture(scope="module")
def images(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, net.images[:8])
    return path


def timed(net, images, **more):
    with open_session("local") as session:
        return session.time(
            net.path, images, runtime="onnxruntime", options={}, load={**LOAD, **more}, trace=True
        )


def test_trace_has_a_start_for_each_run_and_no_power_where_none_is_read(net, images, tmp_path):
    run = timed(net, images, telemetry=True, idle_seconds=0.5, root=str(tmp_path))
    starts = run.trace["starts_ns"]
    assert starts.dtype == np.int64
    assert len(starts) == len(run.samples_ns)
    assert (starts[1:] >= starts[:-1] + run.samples_ns[:-1]).all()
    assert run.reply["idle_ns"] == [], "nobody rests where no power can be read"
    assert run.reply["power_source"] is None
    assert run.reply["window_ns"] == [starts[0], starts[-1] + run.samples_ns[-1]]


def test_rails_are_read_before_during_and_after(net, images, tmp_path):
    plant(tmp_path, ina3221(0, ("VDD_IN", 5000, 900)) | zones(("tj-thermal", "40000")))
    run = timed(net, images, telemetry=True, idle_seconds=0.3, root=str(tmp_path))
    assert run.reply["power_source"] == "hwmon"
    (before, after), window = run.reply["idle_ns"], run.reply["window_ns"]
    assert before[1] - before[0] >= 0.3e9
    assert before[1] <= window[0] < window[1] <= after[0]
    assert [str(name) for name in run.trace["columns"]] == ["power_mw.VDD_IN", "temperature_c.tj-thermal"]
    times = run.trace["times_ns"]
    assert times[0] <= before[0]
    assert times[-1] >= after[1]
    assert (run.trace["values"][:, 0] == 4500.0).all()


def test_memory_is_of_the_process_that_ran_not_of_its_parent(net, images):
    ballast = np.ones(60_000_000)  # 480 MB, which getrusage would hand down
    run = timed(net, images)
    assert 20e6 < run.reply["peak_memory_bytes"] < 300e6 < ballast.nbytes


def test_job_without_a_trace_is_answered_as_before(net, images):
    with open_session("local") as session:
        run = session.time(net.path, images, runtime="onnxruntime", options={}, load=LOAD)
    assert run.trace == {}
    assert len(run.samples_ns) >= 30
