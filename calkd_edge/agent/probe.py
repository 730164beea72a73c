"""What machine this is, as stages are keyed by it; and how hot and how fast it is right now."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy

from calkd_edge.agent import board, packages, sensors
from calkd_edge.agent.place import Place


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Facts that do not change between two runs on the same machine."""
    place = Place()
    return {
        "board": board.model(place),
        "machine": place.machine,
        "system": board.system(place),
        "python": platform.python_version(),
        "cpu": board.cpu_name(place),
        "isa": board.isa(place),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "l4t": board.l4t(place),
        "power_mode": board.power_mode(place),
        "emulated": board.is_emulated(place),
        "runtimes": packages.runtimes(),
        "numpy": numpy.__version__,
    }


def state(place: Place | None = None) -> dict[str, Any]:
    """Temperatures in degrees Celsius by zone and clocks in MHz of each core, as far as the machine tells."""
    place = place or Place()
    cores = place.find("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")
    return {
        "temperatures_c": sensors.values(place, sensors.zones(place)),
        "clocks_mhz": [clock / 1000.0 for clock in map(place.number, cores) if clock is not None],
        "governor": place.line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        "load_1min": os.getloadavg()[0],
    }
