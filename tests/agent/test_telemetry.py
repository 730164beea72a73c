"""The sampler on folders whose values change, and what it costs nothing to leave."""

from __future__ import annotations

import math
import os
import threading
import time

import numpy as np
import pytest
from jetson_roots import MACHINES, answer_again, command, ina3221, plant, policy, zones

from calkd_edge.agent import sensors
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.telemetry import Sampler
from calkd_edge.benchmarking.files import throttled


def until(true, seconds=20.0):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def column(sampler: Sampler, name: str) -> list[float]:
    return [row[sampler.columns.index(name)] for row in sampler.rows]


def write(machine: Machine, name: str, text: str) -> None:
    """Change a file in place, as the kernel changes what a sensor's file says."""
    with open(machine.real_path(name), "r+", encoding="utf-8") as handle:
        handle.write(text)
        handle.truncate()


def test_values_that_change_are_seen_in_the_order_in_which_they_were(tmp_path):
    plant(tmp_path, ina3221(0, ("VDD_IN", 5000, 100)) | zones(("tj-thermal", "40000")))
    plant(tmp_path, policy(0, 100, 2000000, 729600, "schedutil"))
    machine = Machine(str(tmp_path))
    with Sampler(machine, 0.005) as sampler:
        for milliamperes in range(200, 1000, 100):
            write(machine, "/sys/class/hwmon/hwmon0/curr1_input", f"{milliamperes}\n")
            write(machine, "/sys/devices/virtual/thermal/thermal_zone0/temp", f"{40000 + milliamperes}\n")
            count = len(sampler.rows)
            until(lambda count=count: len(sampler.rows) >= count + 2)
    assert sampler.columns == ("power_mw.VDD_IN", "temperature_c.tj-thermal", "clock_mhz.cpu0")
    assert sampler.source == "hwmon"
    power = [value for value in column(sampler, "power_mw.VDD_IN") if not math.isnan(value)]
    assert set(power) == {5.0 * milliamperes for milliamperes in range(100, 1000, 100)}
    assert power == sorted(power)
    heat = [value for value in column(sampler, "temperature_c.tj-thermal") if not math.isnan(value)]
    assert heat[0] == pytest.approx(40.0)
    assert heat[-1] == pytest.approx(40.9)
    assert set(column(sampler, "clock_mhz.cpu0")) == {729.6}


def test_times_align_with_the_clock_that_latencies_are_taken_by(tmp_path):
    plant(tmp_path, zones(("tj-thermal", "40000")))
    before = time.perf_counter_ns()
    with Sampler(Machine(str(tmp_path)), 0.01) as sampler:
        until(lambda: len(sampler.rows) >= 12)
        inside = time.perf_counter_ns()
    after = time.perf_counter_ns()
    times = np.array(sampler.times_ns)
    assert before <= times[0]
    assert times[-1] <= after
    assert times[-1] >= inside, "leaving takes a last sample, so that the whole window is covered"
    assert (np.diff(times) > 0).all()
    assert times[11] - times[0] >= 0.1 * 1e9, "samples came before their time"


def test_late_sample_does_not_bring_a_burst(tmp_path, monkeypatch):
    plant(tmp_path, zones(("tj-thermal", "40000")))
    sampler = Sampler(Machine(str(tmp_path)), 0.05)
    real, slow = sampler._read, threading.Event()

    def read():
        if not slow.is_set() and len(sampler.rows) == 2:
            slow.set()
            time.sleep(0.4)
        return real()

    monkeypatch.setattr(sampler, "_read", read)
    with sampler:
        until(lambda: len(sampler.rows) >= 7)
    assert slow.is_set()
    assert (sampler.times_ns[6] - sampler.times_ns[0]) / 1e9 > 0.6, "samples were made up for"


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_is_sampled_in_its_columns(name, tmp_path):
    with Sampler(MACHINES[name](tmp_path), 0.01) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    assert len(set(sampler.columns)) == len(sampler.columns)
    assert {len(row) for row in sampler.rows} == {len(sampler.columns)}
    wanted = {
        "orin_nano": ("power_mw.VDD_SOC", "temperature_c.tj-thermal", "events.oc3", "clock_mhz.gpu"),
        "agx_orin": ("power_mw.VDDQ_VDD2_1V8AO", "clock_mhz.emc", "clock_mhz.cpu8", "events.oc1"),
        "thor": ("power_mw.VIN", "clock_mhz.gpu", "clock_mhz.gpu-nvd-0"),
        "raspberry_pi": ("throttled.cpufreq-cpu0", "clock_mhz.cpu0", "throttled.under-voltage"),
        "laptop": ("events.package", "temperature_c.acpitz#2", "clock_mhz.cpu7"),
    }
    assert set(wanted[name]) <= set(sampler.columns)
    assert sampler.source == {"agx_orin": "tegrastats", "orin_nano": "hwmon", "thor": "hwmon"}.get(name)
    assert not any("NC" in column or "sum" in column for column in sampler.columns)


def test_tegrastats_speaks_for_rails_that_cannot_be_read(tmp_path):
    with Sampler(MACHINES["agx_orin"](tmp_path), 0.02) as sampler:
        until(lambda: len(sampler.rows) >= 5)
    assert [name for name in sampler.columns if name.startswith("power")] == [
        "power_mw.VDD_GPU_SOC",
        "power_mw.VDD_CPU_CV",
        "power_mw.VIN_SYS_5V0",
        "power_mw.VDDQ_VDD2_1V8AO",
    ]
    assert set(column(sampler, "power_mw.VIN_SYS_5V0")) == {4306.0}
    assert column(sampler, "clock_mhz.emc")[0] == pytest.approx(3199.0)
    assert sampler._stats._process.returncode is not None, "tegrastats outlives the sampler"


def test_tegrastats_that_falls_silent_is_not_believed_for_long(tmp_path):
    command(tmp_path, "tegrastats", "echo 'VDD_IN 7mW/8mW'; exec sleep 600")
    with Sampler(Machine(str(tmp_path)), 0.02) as sampler:
        until(lambda: math.isnan(sampler.rows[-1][0]))
    assert sampler.columns == ("power_mw.VDD_IN",)
    assert column(sampler, "power_mw.VDD_IN")[0] == 7.0


@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_a_raspberry_pi_that_is_slowed_down_meanwhile_is_seen_without_a_command(tmp_path, folder):
    name = f"/sys/devices/platform/{folder}/get_throttled"
    plant(tmp_path, {name: "10000\n"})
    command(tmp_path, "vcgencmd", f"touch {tmp_path}/asked; echo throttled=0xf000f")
    machine = Machine(str(tmp_path))
    with Sampler(machine, 0.005) as sampler:
        for text in ("50005\n", "d0008\n", "no number\n", "50000\n"):
            count = len(sampler.rows)
            write(machine, name, text)
            until(lambda count=count: len(sampler.rows) >= count + 2)
    assert column(sampler, "throttled.under-voltage")[0] == 0.0
    assert {0.0, 1.0} <= set(column(sampler, "throttled.under-voltage"))
    assert any(math.isnan(value) for value in column(sampler, "throttled.under-voltage"))
    assert set(throttled(sampler.arrays())) == {
        "under-voltage",
        "firmware-throttling",
        "soft-temperature-limit",
        "firmware-throttling +1",
        "soft-temperature-limit +1",
    }, "under-voltage before the first sample is no event"
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0x0", "0x0", []),
        ("0x50000", "0x50000", []),
        ("0x0", "0x50000", ["under-voltage +1", "firmware-throttling +1"]),
        ("0x50000", "0x50005", ["under-voltage", "firmware-throttling"]),
        ("0x0", "error", []),
    ],
)
def test_a_raspberry_pis_command_is_asked_before_and_after_alone(tmp_path, before, after, expected):
    command(tmp_path, "vcgencmd", f'echo "$@" >> {tmp_path}/asked; echo throttled=$(cat {tmp_path}/bits)')
    (tmp_path / "bits").write_text(before, encoding="utf-8")
    with Sampler(Machine(str(tmp_path)), 0.005) as sampler:
        (tmp_path / "bits").write_text(after, encoding="utf-8")
        until(lambda: len(sampler.rows) >= 4)
    assert throttled(sampler.arrays()) == expected
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "get_throttled\n" * 2
    between = [value for row in sampler.rows[1:-1] for value in row]
    assert len(between) >= 8
    assert all(math.isnan(value) for value in between)
    assert sampler.arrays()["values"].shape[1] == 8


def test_a_command_that_tells_nothing_of_throttling_is_no_column(tmp_path):
    command(tmp_path, "vcgencmd", "echo 'VCHI initialization failed'; exit 1")
    with Sampler(Machine(str(tmp_path)), 0.005) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    assert sampler.columns == ()


def test_sensor_that_cannot_be_read_now_is_a_gap_and_comes_back(tmp_path):
    plant(tmp_path, zones(("tj-thermal", "40000"), ("off-thermal", "")))
    machine, name = Machine(str(tmp_path)), "/sys/devices/virtual/thermal/thermal_zone0/temp"
    with Sampler(machine, 0.005) as sampler:
        for text in ("unreadable\n", "41000\n"):
            write(machine, name, text)
            count = len(sampler.rows)
            until(lambda count=count: len(sampler.rows) >= count + 2)
    heat = column(sampler, "temperature_c.tj-thermal")
    assert heat[0] == 40.0
    assert any(math.isnan(value) for value in heat)
    assert heat[-1] == 41.0
    assert all(math.isnan(value) for value in column(sampler, "temperature_c.off-thermal"))


def test_nothing_to_measure_is_no_column_and_no_error(tmp_path):
    with Sampler(Machine(str(tmp_path)), 0.005) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    assert sampler.columns == ()
    assert sampler.source is None
    assert sampler.arrays()["values"].shape == (len(sampler.times_ns), 0)


def test_this_machine_is_sampled():
    with Sampler(period_s=0.02) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    assert {len(row) for row in sampler.rows} == {len(sampler.columns)}


def test_leaving_ends_the_thread_and_closes_every_file(tmp_path):
    machine = MACHINES["orin_nano"](tmp_path)
    before = set(os.listdir("/proc/self/fd"))
    with Sampler(machine, 60.0) as sampler:
        assert len(os.listdir("/proc/self/fd")) > len(before)
        begun = time.monotonic()
    assert time.monotonic() - begun < 30.0, "leaving waited for the period"
    assert not sampler._thread.is_alive()
    assert set(os.listdir("/proc/self/fd")) <= before
    assert len(sampler.rows) == 2


def test_samples_become_a_file_that_needs_no_pickle(tmp_path):
    with Sampler(MACHINES["thor"](tmp_path / "thor"), 0.01) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    np.savez(tmp_path / "telemetry.npz", **sampler.arrays())
    stored = np.load(tmp_path / "telemetry.npz", allow_pickle=False)
    assert stored["times_ns"].dtype == np.int64
    assert tuple(stored["columns"]) == sampler.columns
    assert stored["values"].shape == (len(sampler.rows), len(sampler.columns))
    rail = list(stored["columns"]).index("power_mw.VIN")
    assert (stored["values"][:, rail] == 36487.0).all()


def test_zone_that_answers_eagain_is_left_out(tmp_path, monkeypatch):
    plant(tmp_path, zones(("tj-thermal", "40000"), ("cv0-thermal", "0")))
    zone = "/sys/devices/virtual/thermal/thermal_zone1/temp"
    answer_again(monkeypatch, tmp_path, zone)
    machine = Machine(str(tmp_path))
    with pytest.raises(BlockingIOError):
        os.read(os.open(machine.real_path(zone), os.O_RDONLY), 64)
    assert machine.read(zone) == ""
    assert sensors.values(machine, sensors.zones(machine)) == {"tj-thermal": 40.0}
    with Sampler(machine, 0.005) as sampler:
        until(lambda: len(sampler.rows) >= 3)
    assert set(column(sampler, "temperature_c.tj-thermal")) == {40.0}
    assert all(math.isnan(value) for value in column(sampler, "temperature_c.cv0-thermal"))


@pytest.mark.parametrize("millidegrees", ["-256000", "451000", "-2147483648"])
def test_impossible_temperature_is_left_out(tmp_path, millidegrees):
    plant(tmp_path, zones(("GPU-therm", millidegrees), ("CPU-therm", "42000")))
    machine = Machine(str(tmp_path))
    assert sensors.values(machine, sensors.zones(machine)) == {"CPU-therm": 42.0}
    with Sampler(machine, 0.005) as sampler:
        pass
    assert all(math.isnan(value) for value in column(sampler, "temperature_c.GPU-therm"))


def test_constant_zone_of_the_pmic_is_no_temperature(tmp_path):
    plant(tmp_path, zones(("CPU-therm", "42000"), ("PMIC-Die", "100000")))
    machine = Machine(str(tmp_path))
    assert sensors.values(machine, sensors.zones(machine)) == {"CPU-therm": 42.0}
