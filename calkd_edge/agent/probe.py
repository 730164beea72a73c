"""The verb `probe`: what machine this is, as stages are keyed by it; and its temperatures and clocks now."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy

from calkd_edge.agent import board, packages, sensors
from calkd_edge.agent.machine import Machine


def run(job: dict[str, Any]) -> dict[str, object]:
    """Facts that do not change between two runs on the same machine.

    The job may hold `runtimes`, the names of those that must work.

    Raises:
        AgentProblem: one of them is there and cannot be imported or used.
    """
    machine = Machine()
    packages.check_runtimes(job.get("runtimes", ()))
    return {
        "board": board.model(machine),
        "machine": machine.architecture,
        "system": board.system(machine),
        "python": platform.python_version(),
        "cpu": board.cpu_name(machine),
        "isa": board.isa(machine),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "l4t": board.l4t(machine),
        "power_mode": board.power_mode(machine),
        "emulated": board.is_emulated(machine),
        "runtimes": packages.runtimes(),
        "numpy": numpy.__version__,
    }


def state(machine: Machine | None = None) -> dict[str, object]:
    """Degrees Celsius by thermal zone, MHz of each core, governor and load; None or empty where unknown."""
    machine = machine or Machine()
    cores = machine.find("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")
    return {
        "temperatures_c": sensors.values(machine, sensors.zones(machine)),
        "clocks_mhz": [clock / 1000.0 for clock in map(machine.number, cores) if clock is not None],
        "governor": machine.line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        "load_1min": os.getloadavg()[0],
    }
