"""From runs to a line of benchmark.json: schedules, energy, throttling, and what the reader is warned of."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_world import FACTS, file

from calkd_edge.benchmarking.caveats import caveats, doubts
from calkd_edge.benchmarking.files import most_energy, on_device, paced, soak, throttled
from calkd_edge.devices.session import TimedRun
from calkd_edge.metrics.latency import ends_of, tail

MS, S = 1_000_000, 1_000_000_000


def run(samples_ms, *, period_ms=10.0, late_ms=0.0, columns=(), values=None, **reply):
    """A process whose runs begin at a steady pace, with a sensor's sample each tenth of a second."""
    count = len(samples_ms)
    starts = (np.arange(count) * period_ms * MS).astype(np.int64)
    times = np.arange(-5 * S, starts[-1] + 5 * S, S // 10)
    trace = {
        "starts_ns": starts,
        "late_ns": np.full(count, late_ms * MS, np.int64),
        "device_ms": np.array([]),
        "times_ns": times,
        "values": np.empty((len(times), 0)) if values is None else values(times),
        "columns": np.array(columns, np.str_),
    }
    told = {
        "missed": 0,
        "window_ns": [0, int(starts[-1] + samples_ms[-1] * MS)],
        "idle_ns": [],
        "floating": [],
        "before": {"load_1min": 0.1},
        "steady": True,
    }
    return TimedRun((np.asarray(samples_ms) * MS).astype(np.int64), {**told, **reply}, trace)


def test_schedule_is_held_from_first_to_last_and_missed_ticks_stand_beside_it():
    found = paced([run(np.ones(201), late_ms=0.5, missed=3), run(np.ones(101), missed=1)], 100.0)
    assert found.held_hz == pytest.approx(100.0)
    assert (found.ticks, found.missed) == (201 + 101 + 4, 4)
    assert found.late_max_ms == pytest.approx(0.5)


def test_schedule_that_loses_every_second_tick_held_half_the_rate():
    found = paced([run(np.ones(101), period_ms=20.0, missed=100)], 100.0)
    assert found.held_hz == pytest.approx(50.0)


@pytest.mark.parametrize(("seconds", "window_s"), [(600, 60.0), (3600, 60.0), (60, 10.0)])
def test_ends_of_a_soak_are_minutes_or_sixths(seconds, window_s):
    starts = np.arange(0, seconds, 0.5) * 1e9
    first, last, found = ends_of(starts.astype(np.int64), seconds)
    assert found == window_s
    assert len(first) == pytest.approx(2 * window_s, abs=1)
    assert len(last) == pytest.approx(2 * window_s, abs=1)
    assert first[0] == 0
    assert last[-1] == len(starts) - 1


def test_soak_sees_what_heat_does():
    samples = np.where(np.arange(6000) < 4000, 1.0, 1.3) + np.random.default_rng(0).gamma(2, 0.001, 6000)
    heat = lambda times: np.linspace(40, 91, len(times))[:, None]  # noqa: E731
    found = soak(run(samples, columns=("temperature_c.tj",), values=heat), 60.0)
    assert found.window_s == 10.0
    assert found.ratio.value == pytest.approx(1.3, rel=0.01)
    assert found.ratio.low > 1.2
    assert found.hottest_c == pytest.approx(91)


def test_p99_is_told_only_where_the_runs_carry_it():
    generator = np.random.default_rng(0)
    assert tail([generator.gamma(2, 1, 200)]).value is None, "299 independent runs carry it"
    assert tail([generator.gamma(2, 1, 2000)]).value is not None


def power(times):
    """3 W at rest before, 4 W after, 5 W while it runs (0 to 10 s)."""
    return np.where(times < 0, 3000.0, np.where(times > 10 * S, 4000.0, 5000.0))[:, None]


def test_energy_takes_off_the_mean_of_both_rests():
    idle = [[-4 * S, -S], [11 * S, 14 * S]]
    found = most_energy([run(np.ones(1001), columns=("power_mw.VDD_IN",), values=power, idle_ns=idle)])
    assert found.mean_w == pytest.approx(5.0, rel=0.01)
    assert found.idle_w == pytest.approx(3.5)
    assert found.net_joules_per_inference == pytest.approx(1.5 * 10 / 1001, rel=0.02)
    assert found.rails == ("VDD_IN",)


def test_no_rail_gives_no_energy():
    assert most_energy([run(np.ones(100), columns=("temperature_c.tj",), values=power)]) is None


def test_throttling_is_a_counter_that_rises_or_a_state_that_is_on():
    columns = ("events.oc1", "events.oc2", "throttled.cpufreq", "throttled.gpu")

    def values(times):
        rising, still = 5.0 + (times > S), np.full(len(times), 7.0)
        return np.stack([rising, still, np.zeros(len(times)), 1.0 * (times > 2 * S)], axis=1)

    assert throttled(run(np.ones(1000), columns=columns, values=values).trace) == ["oc1 +1", "gpu"]
    assert throttled({}) == []


def test_device_time_is_told_by_runtimes_that_have_it():
    assert on_device([run(np.ones(10))]) is None
    one = run(np.ones(500))
    one.trace["device_ms"] = np.linspace(0.5, 0.6, 500)
    assert on_device([one]).p50.value == pytest.approx(0.55, abs=0.001)


@pytest.mark.parametrize(
    ("reply", "more", "words"),
    [
        ({"floating": ["cpu0", "cpu4", "gpu"]}, {}, "clocks follow the load (cores, gpu)"),
        ({"before": {"load_1min": 2.5}}, {}, "other work ran there: 2.5 tasks"),
        ({"before": {"load_1min": 2.5}, "others_cores": 0.4}, {}, "other work used 0.4 cores"),
        ({"steady": False}, {}, "NOT STEADY: fp32"),
        ({}, {"throttled": ("oc1 +2",)}, "fp32: throttled during the runs: oc1 +2"),
    ],
)
def test_each_caution_is_said(reply, more, words):
    (found,) = caveats({"fp32": [run(np.ones(10), **reply)]}, [file(**more)], FACTS, here="jetson:tensorrt")
    assert words in found


def test_missed_ticks_are_warned_of_and_a_quiet_steady_machine_is_not():
    slow = paced([run(np.ones(101), period_ms=20.0, missed=100)], 100.0)
    (found,) = caveats({"fp32": [run(np.ones(10))]}, [file(paced=slow)], FACTS, here="jetson:tensorrt")
    assert "missed 100 of 201 ticks" in found
    assert caveats({"fp32": [run(np.ones(10))]}, [file()], FACTS, here="jetson:tensorrt") == ()


def test_emulated_machine_has_one_caution():
    emulated = FACTS.model_copy(update={"emulated": True})
    (found,) = caveats({"fp32": [run(np.ones(10), steady=False)]}, [file()], emulated, here="jetson:tensorrt")
    assert "emulated" in found


def test_accuracy_from_elsewhere_and_files_that_nothing_has_proven_are_told():
    ran = {"fp32": [run(np.ones(10))]}
    where = [file(measured_on="local:onnxruntime")]
    (found,) = caveats(ran, where, FACTS, here="jetson:tensorrt")
    assert found.startswith("accuracy and confidence are those of local:onnxruntime")
    assert "compress --device jetson:tensorrt" in found
    assert caveats(ran, where, FACTS, here="local:onnxruntime") == ()
    (found,) = caveats(ran, [file()], FACTS, here="pi:litert", unproven=["fp32"])
    assert found.startswith("fp32: converted for this benchmark")


@pytest.mark.parametrize(
    ("reply", "processes", "words"),
    [
        ({"others_cores": 0.3}, 3, "other work used 0.3 cores during the runs"),
        ({"steady": False}, 3, "the warm-up of fp32 did not settle"),
        ({}, 1, "one process alone was timed"),
    ],
)
def test_what_casts_doubt_on_times_is_named(reply, processes, words):
    (found,) = doubts({"fp32": [run(np.ones(10), **reply)] * processes})
    assert words in found


def test_throttled_times_are_in_doubt():
    hot = run(np.ones(10), columns=("throttled.gpu",), values=lambda times: np.ones((len(times), 1)))
    assert doubts({"int8": [hot] * 3}) == ("int8 was throttled: gpu",)


def test_quiet_settled_processes_leave_no_doubt():
    assert doubts({"fp32": [run(np.ones(10), others_cores=0.1)] * 3}) == ()
