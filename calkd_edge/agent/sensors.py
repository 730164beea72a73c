"""The sensors of a machine: their files, units and names.

A sensor's value is the product of the whole numbers in its files, times a factor, or one bit of the
hexadecimal number in its file. Columns are named KIND.NAME: power_mw.VDD_IN, temperature_c.cpu-thermal,
clock_mhz.gpu, events.oc1 (a count since the start), throttled.gpu-throttle-alert (a state: 0 is none).
"""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple

from calkd_edge.agent.machine import Machine

GPU = re.compile(r"gpu|ga10b|gv11b|gp10b|v3d|mali", re.I)
SLOWED = re.compile(r"throttle|alert|cpufreq|devfreq", re.I)
EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"
NO_ZONE = re.compile(r"PMIC(-Die)?\Z", re.I)
"""Thermal zones that measure nothing: the PMIC's is a constant, 100 °C or 50 °C."""
MIN_C, MAX_C = -60.0, 150.0
"""Temperatures outside are no measurements; a unit that is off reports -256 °C."""

STEADY = ("performance", "userspace")
"""Governors under which a clock does not follow the load."""

FIRMWARE = "/sys/devices/platform/soc*/*firmware/get_throttled"
FIRMWARE_BITS = ("under-voltage", "capped-clock", "firmware-throttling", "soft-temperature-limit")
"""The bits of a Raspberry Pi's firmware: 0 to 3 for now, 16 to 19 for since the start."""


class Sensor(NamedTuple):
    """One column of the measurements."""

    column: str
    files: tuple[str, ...]
    factor: float
    bit: int | None = None

    @property
    def name(self) -> str:
        """The column without its kind."""
        return self.column.partition(".")[2]

    def number(self, text: str | bytes) -> int:
        """The number that a file's text holds.

        Raises:
            ValueError: it holds none.
        """
        return int(text) if self.bit is None else int(text, 16) >> self.bit & 1

    def value_of(self, texts: Iterable[str | bytes]) -> float:
        """The value that the texts of its files give.

        Raises:
            ValueError: a text holds no number, or the value is no possible temperature.
        """
        value = self.factor
        for text in texts:
            value *= self.number(text)
        if self.column.startswith("temperature_c.") and not is_temperature(value):
            raise ValueError(f"{value} °C")
        return value


class Clock(NamedTuple):
    """A clock, its range in megahertz, and whether it follows the load; None where that is not known."""

    sensor: Sensor
    min_mhz: float | None
    max_mhz: float | None
    governor: str | None
    floats: bool | None


def value(machine: Machine, sensor: Sensor) -> float | None:
    """The value of a sensor now, or None."""
    try:
        return sensor.value_of(machine.line(name)[:64] for name in sensor.files)
    except ValueError:
        return None


def is_temperature(degrees_c: float) -> bool:
    """Whether a value in degrees Celsius can be a measurement."""
    return MIN_C <= degrees_c <= MAX_C


def values(machine: Machine, sensors: list[Sensor]) -> dict[str, float]:
    """The values now of the sensors that can be read, by name."""
    readings = {sensor.name: value(machine, sensor) for sensor in sensors}
    return {name: reading for name, reading in readings.items() if reading is not None}


def zones(machine: Machine) -> list[Sensor]:
    """Thermal zones, in degrees Celsius; a zone of a unit that is off cannot be read."""
    sensors: list[Sensor] = []
    for folder in machine.find("/sys/devices/virtual/thermal/thermal_zone*"):
        name = machine.line(folder + "/type")
        if name and not NO_ZONE.match(name):
            _add(sensors, Sensor("temperature_c." + name, (folder + "/temp",), 1e-3))
    return sensors


def rails(machine: Machine) -> list[Sensor]:
    """Power of the rails that an INA3221 or INA238 measures, in milliwatts, by their labels.

    These channels are no rails: without a label, not connected (NC), and those after the third, which are
    shunt voltages and their sum.
    """
    chips: dict[str, list[Sensor]] = {"ina3221": [], "ina238": []}
    named = [f for f in machine.find("/sys/class/hwmon/hwmon*") if machine.line(f + "/name") in chips]
    # Where the class lists none, the same chips are below their driver.
    for folder in named or machine.find("/sys/bus/i2c/drivers/ina*/*/hwmon/hwmon*"):
        chip = machine.line(folder + "/name")
        if chip == "ina3221":
            for number in (1, 2, 3):
                label = machine.line(f"{folder}/in{number}_label")
                files = tuple(f"{folder}/{kind}{number}_input" for kind in ("in", "curr"))
                if label and not re.search(r"\bNC\b", label):
                    _add(chips[chip], Sensor("power_mw." + label, files, 1e-3))
        elif chip == "ina238":
            label = machine.line(folder + "/power1_label") or machine.line(folder + "/label") or "VIN"
            _add(chips[chip], Sensor("power_mw." + label, (folder + "/power1_input",), 1e-3))
    return chips["ina3221"] + chips["ina238"]


def clocks(machine: Machine) -> list[Clock]:
    """Clocks of cores, GPU and memory, as far as they can be read; cores that share a clock count once."""
    clocks: list[Clock] = []
    for folder in machine.find("/sys/devices/system/cpu/cpufreq/policy*"):
        clocks.append(
            _clock(machine, "cpu" + folder.rpartition("policy")[2], folder, "scaling_{}_freq", 1e-3)
        )
    for folder in machine.find("/sys/class/devfreq/*"):
        name = folder.rpartition("/")[2]
        if GPU.search(name):
            first = all(clock.sensor.column != "clock_mhz.gpu" for clock in clocks)
            clocks.append(_clock(machine, "gpu" if first else name, folder, "{}_freq", 1e-6))
        elif "emc" in name:
            clocks.append(_clock(machine, "emc", folder, "{}_freq", 1e-6))
    if machine.number(EMC + "/rate") is not None:
        clocks.append(_clock(machine, "emc", EMC, "{}_rate", 1e-6))
    return clocks


def _clock(machine: Machine, name: str, folder: str, form: str, factor: float) -> Clock:
    now = "rate" if folder == EMC else form.format("cur")
    sensor = Sensor("clock_mhz." + name, (f"{folder}/{now}",), factor)
    low, high = (machine.number(f"{folder}/{form.format(end)}") for end in ("min", "max"))
    governor = machine.line(folder + "/scaling_governor") or machine.line(folder + "/governor") or None
    if low is None or high is None:
        return Clock(sensor, None, None, governor, None)
    locked = governor in STEADY or machine.number(folder + "/mrq_rate_locked") == 1
    return Clock(sensor, low * factor, high * factor, governor, low < high and not locked)


def events(machine: Machine) -> list[Sensor]:
    """Counters of over-current and of thermal throttling, since the machine started."""
    sensors: list[Sensor] = []
    for path in machine.find("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        _add(sensors, Sensor("events." + path.rpartition("/")[2].partition("_")[0], (path,), 1.0))
    for kind in ("core", "package"):
        path = f"/sys/devices/system/cpu/cpu0/thermal_throttle/{kind}_throttle_count"
        if machine.number(path) is not None:
            _add(sensors, Sensor("events." + kind, (path,), 1.0))
    return sensors


def slowed(machine: Machine) -> list[Sensor]:
    """The state now of each cooling device that slows something down; 0 is none."""
    sensors: list[Sensor] = []
    for folder in machine.find("/sys/class/thermal/cooling_device*"):
        name = machine.line(folder + "/type")
        if SLOWED.search(name):
            _add(sensors, Sensor("throttled." + name, (folder + "/cur_state",), 1.0))
    return sensors


def firmware(machine: Machine) -> list[Sensor]:
    """The throttling bits of a Raspberry Pi, now and earlier, where the kernel has a file of them."""
    files = tuple(machine.find(FIRMWARE)[:1])
    return [Sensor(column, files, 1.0, bit) for column, bit in firmware_columns() if files]


def firmware_columns() -> list[tuple[str, int]]:
    """The columns of a Raspberry Pi's firmware, each with its bit."""
    now = [("throttled." + name, bit) for bit, name in enumerate(FIRMWARE_BITS)]
    return now + [("events." + name, 16 + bit) for bit, name in enumerate(FIRMWARE_BITS)]


def _add(sensors: list[Sensor], sensor: Sensor) -> None:
    """Append under a column that no other has."""
    taken, column, number = {other.column for other in sensors}, sensor.column, 2
    while column in taken:
        column, number = f"{sensor.column}#{number}", number + 1
    sensors.append(sensor._replace(column=column))
