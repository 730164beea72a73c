"""The verb `doctor`: everything a machine tells about itself; what it means is judged at home."""

from __future__ import annotations

from typing import Any

from calkd_edge.agent import board, sensors
from calkd_edge.agent.interpreters import interpreters
from calkd_edge.agent.place import Place
from calkd_edge.agent.tegrastats import Tegrastats

FIRST_LINE_S = 2.0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The facts of this machine; `job["folder"]` is where it will keep files."""
    return facts(Place(), str(job.get("folder", ".")))


def facts(place: Place, folder: str) -> dict[str, Any]:
    """Everything that can be read there without being root, as plain JSON; what cannot be read is None."""
    return {
        "board": board.model(place),
        "compatible": board.compatible(place),
        "machine": place.machine,
        "system": board.system(place),
        "l4t": board.l4t(place),
        "cpu": board.cpu_name(place, ("model name", "CPU part")),
        "isa": board.isa(place),
        "cores": len(place.find("/sys/devices/system/cpu/cpu[0-9]*")),
        "emulated": board.is_emulated(place),
        "container": board.in_container(place),
        "nvidia_gpu": board.has_nvidia_gpu(place),
        "libraries": board.libraries(place),
        "memory": board.memory(place),
        "disk": board.disk(folder),
        "power_mode": board.power_mode(place),
        "on_battery": board.on_battery(place),
        "load_1min": board.load_1min(place),
        "clocks": clocks(place),
        "temperatures_c": sensors.values(place, sensors.zones(place)),
        "power": power(place),
        "events": sensors.values(place, sensors.events(place)),
        "throttled": sensors.values(place, sensors.slowed(place)),
        "firmware_throttled": board.firmware_throttled(place),
        "interpreters": interpreters(place),
    }


def clocks(place: Place) -> list[dict[str, Any]]:
    """Every clock with its name, megahertz (min, max, now), governor, and whether it follows the load."""
    found = []
    for clock in sensors.clocks(place):
        one = clock._asdict()
        sensor = one.pop("sensor")
        found.append(dict(one, name=sensor.column.partition(".")[2], now_mhz=sensors.value(place, sensor)))
    return found


def power(place: Place) -> dict[str, Any]:
    """Milliwatts by rail, and where they come from: hwmon, tegrastats or nowhere (None)."""
    rails = sensors.values(place, sensors.rails(place))
    if rails:
        return {"source": "hwmon", "rails_mw": rails}
    command = place.which("tegrastats")
    if command is not None:
        with Tegrastats(command) as stats:
            found = stats.power(FIRST_LINE_S)
        if found:
            return {"source": "tegrastats", "rails_mw": found}
    return {"source": None, "rails_mw": {}}
