"""The verb `doctor`: every fact that a machine reports about itself; the host interprets them."""

from __future__ import annotations

from typing import Any

from calkd_edge.agent import board, sensors
from calkd_edge.agent.interpreters import interpreters
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.tegrastats import Tegrastats

FIRST_LINE_S = 2.0


def run(job: dict[str, Any]) -> dict[str, object]:
    """The facts of this machine; `job["folder"]` is where it will keep files."""
    return facts(Machine(), str(job.get("folder", ".")))


def facts(machine: Machine, folder: str) -> dict[str, object]:
    """Everything that can be read without root rights, as plain JSON; what cannot be read is None."""
    return {
        "board": board.model(machine),
        "compatible": board.compatible(machine),
        "machine": machine.architecture,
        "system": board.system(machine),
        "l4t": board.l4t(machine),
        "cpu": board.cpu_name(machine, ("model name", "CPU part")),
        "core_kinds": board.core_kinds(machine),
        "isa": board.isa(machine),
        "cores": len(machine.find("/sys/devices/system/cpu/cpu[0-9]*")),
        "emulated": board.is_emulated(machine),
        "container": board.in_container(machine),
        "nvidia_gpu": board.has_nvidia_gpu(machine),
        "libraries": board.libraries(machine),
        "memory": board.memory(machine),
        "disk": board.disk(folder),
        "power_mode": board.power_mode(machine),
        "on_battery": board.on_battery(machine),
        "load_1min": board.load_1min(machine),
        "clocks": clocks(machine),
        "temperatures_c": sensors.values(machine, sensors.zones(machine)),
        "power": power(machine),
        "events": sensors.values(machine, sensors.events(machine)),
        "throttled": sensors.values(machine, sensors.slowed(machine)),
        "firmware_throttled": board.firmware_throttled(machine),
        "interpreters": interpreters(machine),
    }


def clocks(machine: Machine) -> list[dict[str, object]]:
    """Every clock with its name, megahertz (min, max, now), governor, and whether it follows the load."""
    records = []
    for clock in sensors.clocks(machine):
        record = clock._asdict()
        sensor = record.pop("sensor")
        records.append(dict(record, name=sensor.name, now_mhz=sensors.value(machine, sensor)))
    return records


def power(machine: Machine) -> dict[str, object]:
    """Milliwatts by rail, and their source: hwmon, tegrastats or none (None)."""
    rails = sensors.values(machine, sensors.rails(machine))
    if rails:
        return {"source": "hwmon", "rails_mw": rails}
    command = machine.which("tegrastats")
    if command is not None:
        with Tegrastats(command) as stats:
            rails = stats.power(FIRST_LINE_S)
        if rails:
            return {"source": "tegrastats", "rails_mw": rails}
    return {"source": None, "rails_mw": {}}
