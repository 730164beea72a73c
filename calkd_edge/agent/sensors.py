"""What a machine can measure of itself: files, what they count, and what to call it.

A sensor's value is the product of the whole numbers in its files, times a factor, or one bit of the
hexadecimal number in its file. Columns are named KIND.NAME: power_mw.VDD_IN, temperature_c.cpu-thermal,
clock_mhz.gpu, events.oc1 (a count since the start), throttled.gpu-throttle-alert (a state: 0 is none).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from calkd_edge.agent.place import Place

GPU = re.compile(r"gpu|ga10b|gv11b|gp10b|v3d|mali", re.I)
SLOWED = re.compile(r"throttle|alert|cpufreq|devfreq", re.I)
EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"
STEADY = ("performance", "userspace")
"""Governors that do not follow the load."""

FIRMWARE = "/sys/devices/platform/soc*/*firmware/get_throttled"
FIRMWARE_BITS = ("under-voltage", "capped-clock", "firmware-throttling", "soft-temperature-limit")
"""What a Raspberry Pi's firmware tells by bits 0 to 3 of now, and by bits 16 to 19 of earlier."""


class Sensor(NamedTuple):
    """One column of what is measured."""

    column: str
    files: tuple[str, ...]
    factor: float
    bit: int | None = None

    def number(self, text: str | bytes) -> int:
        """What a file's text counts; raises ValueError where it is no number."""
        return int(text) if self.bit is None else int(text, 16) >> self.bit & 1


class Clock(NamedTuple):
    """A clock, the megahertz it may have, and whether it follows the load; None where nothing tells."""

    sensor: Sensor
    min_mhz: float | None
    max_mhz: float | None
    governor: str | None
    floats: bool | None


def value(place: Place, sensor: Sensor) -> float | None:
    """What a sensor says now, or None."""
    found = sensor.factor
    for name in sensor.files:
        try:
            found *= sensor.number(place.line(name)[:64])
        except ValueError:
            return None
    return found


def values(place: Place, found: list[Sensor]) -> dict[str, float]:
    """What those sensors say now that answer, by name without the kind."""
    read = {sensor.column.partition(".")[2]: value(place, sensor) for sensor in found}
    return {name: number for name, number in read.items() if number is not None}


def zones(place: Place) -> list[Sensor]:
    """Thermal zones, in degrees Celsius; a zone of a unit that is off cannot be read."""
    found: list[Sensor] = []
    for folder in place.find("/sys/devices/virtual/thermal/thermal_zone*"):
        name = place.line(folder + "/type")
        if name:
            _add(found, Sensor("temperature_c." + name, (folder + "/temp",), 1e-3))
    return found


def rails(place: Place) -> list[Sensor]:
    """Power of the rails that an INA3221 or INA238 watches, in milliwatts, by their labels.

    Channels without a label and those that are not connected (NC) are no rails, nor are those behind the
    third, which are shunt voltages and their sum.
    """
    chips: dict[str, list[Sensor]] = {"ina3221": [], "ina238": []}
    named = [f for f in place.find("/sys/class/hwmon/hwmon*") if place.line(f + "/name") in chips]
    # Where the class has none: the same chips below their driver.
    for folder in named or place.find("/sys/bus/i2c/drivers/ina*/*/hwmon/hwmon*"):
        chip = place.line(folder + "/name")
        if chip == "ina3221":
            for number in (1, 2, 3):
                label = place.line(f"{folder}/in{number}_label")
                files = tuple(f"{folder}/{kind}{number}_input" for kind in ("in", "curr"))
                if label and not re.search(r"\bNC\b", label):
                    _add(chips[chip], Sensor("power_mw." + label, files, 1e-3))
        elif chip == "ina238":
            label = place.line(folder + "/power1_label") or place.line(folder + "/label") or "VIN"
            _add(chips[chip], Sensor("power_mw." + label, (folder + "/power1_input",), 1e-3))
    return chips["ina3221"] + chips["ina238"]


def clocks(place: Place) -> list[Clock]:
    """Clocks of cores, GPU and memory, as far as they can be read; cores that share a clock are one."""
    found: list[Clock] = []
    for folder in place.find("/sys/devices/system/cpu/cpufreq/policy*"):
        found.append(_clock(place, "cpu" + folder.rpartition("policy")[2], folder, "scaling_{}_freq", 1e-3))
    for folder in place.find("/sys/class/devfreq/*"):
        name = folder.rpartition("/")[2]
        if GPU.search(name):
            first = all(clock.sensor.column != "clock_mhz.gpu" for clock in found)
            found.append(_clock(place, "gpu" if first else name, folder, "{}_freq", 1e-6))
        elif "emc" in name:
            found.append(_clock(place, "emc", folder, "{}_freq", 1e-6))
    if place.number(EMC + "/rate") is not None:
        found.append(_clock(place, "emc", EMC, "{}_rate", 1e-6))
    return found


def _clock(place: Place, name: str, folder: str, form: str, factor: float) -> Clock:
    now = "rate" if folder == EMC else form.format("cur")
    sensor = Sensor("clock_mhz." + name, (f"{folder}/{now}",), factor)
    low, high = (place.number(f"{folder}/{form.format(end)}") for end in ("min", "max"))
    governor = place.line(folder + "/scaling_governor") or place.line(folder + "/governor") or None
    if low is None or high is None:
        return Clock(sensor, None, None, governor, None)
    locked = governor in STEADY or place.number(folder + "/mrq_rate_locked") == 1
    return Clock(sensor, low * factor, high * factor, governor, low < high and not locked)


def events(place: Place) -> list[Sensor]:
    """Counters of over-current and of throttling for heat, since the machine started."""
    found: list[Sensor] = []
    for path in place.find("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        _add(found, Sensor("events." + path.rpartition("/")[2].partition("_")[0], (path,), 1.0))
    for kind in ("core", "package"):
        path = f"/sys/devices/system/cpu/cpu0/thermal_throttle/{kind}_throttle_count"
        if place.number(path) is not None:
            _add(found, Sensor("events." + kind, (path,), 1.0))
    return found


def slowed(place: Place) -> list[Sensor]:
    """How far each cooling device that slows something down does so now; 0 is not at all."""
    found: list[Sensor] = []
    for folder in place.find("/sys/class/thermal/cooling_device*"):
        name = place.line(folder + "/type")
        if SLOWED.search(name):
            _add(found, Sensor("throttled." + name, (folder + "/cur_state",), 1.0))
    return found


def firmware(place: Place) -> list[Sensor]:
    """What slows a Raspberry Pi down, where the kernel hands on what its firmware says: now, and earlier."""
    found = tuple(place.find(FIRMWARE)[:1])
    return [Sensor(column, found, 1.0, bit) for column, bit in firmware_columns() if found]


def firmware_columns() -> list[tuple[str, int]]:
    """Columns of what a Raspberry Pi's firmware says, each with its bit."""
    now = [("throttled." + name, bit) for bit, name in enumerate(FIRMWARE_BITS)]
    return now + [("events." + name, 16 + bit) for bit, name in enumerate(FIRMWARE_BITS)]


def _add(found: list[Sensor], sensor: Sensor) -> None:
    """Append under a name that no other has."""
    taken, name, again = {one.column for one in found}, sensor.column, 2
    while name in taken:
        name, again = f"{sensor.column}#{again}", again + 1
    found.append(sensor._replace(column=name))
