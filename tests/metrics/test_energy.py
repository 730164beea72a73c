"""Energy against sums that one does by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calkd_edge.metrics.energy import energy, total_rails

S = 1_000_000_000
START = 5_000_000 * S
"""Clocks count from a machine's start: here since two months."""


def at(*seconds: float) -> np.ndarray:
    return START + np.array([round(second * S) for second in seconds], np.int64)


def window(begin: float, end: float) -> tuple[int, int]:
    return START + round(begin * S), START + round(end * S)


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (["power_mw.VDD_IN", "power_mw.VDD_SOC", "power_mw.VDD_CPU_GPU_CV"], ("VDD_IN",)),
        (["power_mw.VDD_GPU", "temperature_c.VIN", "power_mw.VIN"], ("VIN",)),
        (["power_mw.POM_5V_CPU", "power_mw.POM_5V_IN"], ("POM_5V_IN",)),
        (["power_mw.VDD_GPU_SOC", "clock_mhz.gpu", "power_mw.VIN_SYS_5V0"], ("VDD_GPU_SOC", "VIN_SYS_5V0")),
        (["temperature_c.tj"], ()),
    ],
)
def test_total_is_the_rail_that_carries_all_or_the_sum(columns, wanted):
    assert total_rails(columns) == wanted


def test_level_power_is_power_times_time():
    found = energy(
        at(0, 1, 2, 3), np.full((4, 1), 5000.0), ["power_mw.VDD_IN"], window(0.5, 2.5), inferences=4
    )
    assert found.rails == ("VDD_IN",)
    assert found.scope == "module rails"
    assert found.seconds == 2.0
    assert found.joules == pytest.approx(10.0)
    assert found.mean_w == pytest.approx(5.0)
    assert found.joules_per_inference == pytest.approx(2.5)
    assert found.idle_w is found.net_joules is found.net_joules_per_inference is None


def test_rising_power_is_the_area_below_it():
    # 0 W at 0 s to 4 W at 4 s: from 1 s to 3.5 s the area is (3.5^2 - 1^2) / 2.
    values = np.array([[0.0], [1000.0], [4000.0]])
    found = energy(at(0, 1, 4), values, ["power_mw.VIN"], window(1, 3.5))
    assert found.joules == pytest.approx((3.5**2 - 1) / 2)
    assert found.joules_per_inference is None


def test_rails_are_added_and_others_are_not():
    columns = ["power_mw.VDD_GPU_SOC", "temperature_c.tj", "power_mw.VDD_CPU_CV"]
    values = np.tile([2000.0, 99.0, 500.0], (3, 1))
    found = energy(at(0, 1, 2), values, columns, window(0, 2))
    assert found.joules == pytest.approx(5.0)
    assert found.rails == ("VDD_GPU_SOC", "VDD_CPU_CV")


def test_idle_is_taken_off():
    values = np.array([[2000.0]] * 3 + [[7000.0]] * 3)
    found = energy(
        at(0, 1, 2, 2.001, 3, 4),
        values,
        ["power_mw.VDD_IN"],
        window(2.001, 4),
        inferences=10,
        idle_ns=[window(0, 2)],
    )
    assert found.idle_w == pytest.approx(2.0)
    assert found.net_joules == pytest.approx(1.999 * 5.0)
    assert found.net_joules_per_inference == pytest.approx(0.9995)


def test_of_several_rests_the_measured_ones_count():
    values = np.array([[1000.0], [1000.0], [7000.0], [7000.0], [3000.0], [3000.0]])
    rests = [window(-9, -5), window(0, 1), window(4, 5)]
    found = energy(at(0, 1, 2, 3, 4, 5), values, ["power_mw.VDD_IN"], window(2, 3), idle_ns=rests)
    assert found.idle_w == pytest.approx(2.0)
    assert found.net_joules == pytest.approx(5.0)


def test_gaps_are_bridged_and_the_rest_of_a_row_stays():
    columns = ["power_mw.A", "power_mw.B"]
    values = np.array([[1000.0, 1000.0], [np.nan, 3000.0], [1000.0, 1000.0]])
    found = energy(at(0, 1, 2), values, columns, window(0, 2))
    assert found.joules == pytest.approx(2.0 + 4.0)


@pytest.mark.parametrize(
    ("columns", "values", "span"),
    [
        (["temperature_c.tj"], np.full((3, 1), 40.0), (0, 2)),
        (["power_mw.VDD_IN"], np.full((3, 1), np.nan), (0, 2)),
        (["power_mw.A", "power_mw.B"], np.array([[1.0, np.nan]] * 3), (0, 2)),
        (["power_mw.VDD_IN"], np.full((3, 1), 1.0), (-1, 2)),
        (["power_mw.VDD_IN"], np.full((3, 1), 1.0), (0, 3)),
        (["power_mw.VDD_IN"], np.full((3, 1), 1.0), (7, 9)),
    ],
)
def test_what_was_not_measured_throughout_is_not_claimed(columns, values, span):
    assert energy(at(0, 1, 2), values, columns, window(*span)) is None


def test_idle_that_was_not_measured_takes_nothing_off():
    found = energy(
        at(0, 1, 2), np.full((3, 1), 1.0), ["power_mw.VDD_IN"], window(0, 2), idle_ns=[window(-9, -5)]
    )
    assert found.joules == pytest.approx(0.002)
    assert found.idle_w is None
    assert found.net_joules is None


def test_nonsense_is_refused():
    given_values = (at(0, 1), np.ones((2, 1)), ["power_mw.VDD_IN"])
    with pytest.raises(ValueError, match="ends at"):
        energy(*given_values, window(1, 0))
    with pytest.raises(ValueError, match="0 inferences"):
        energy(*given_values, window(0, 1), inferences=0)


@given(
    st.lists(st.floats(0, 50_000), min_size=3, max_size=20),
    st.floats(0.0, 1.0),
)
def test_two_halves_of_a_window_add_up(powers, share):
    times, values = at(*np.arange(len(powers)) / 10), np.array(powers)[:, None]
    length = (len(powers) - 1) / 10
    cut = min(max(share * length, 0.001), length - 0.001)
    whole, first, second = (
        energy(times, values, ["power_mw.VIN"], window(*span)).joules
        for span in ((0, length), (0, cut), (cut, length))
    )
    assert whole == pytest.approx(first + second, rel=1e-6, abs=1e-6)
    assert min(powers) / 1000 * length - 1e-6 <= whole <= max(powers) / 1000 * length + 1e-6


def test_rail_inside_another_is_not_counted_twice():
    columns = ["power_mw." + name for name in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")]
    assert total_rails(columns) == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert total_rails(columns[3:]) == ("VDDQ_VDD2_1V8AO",)
