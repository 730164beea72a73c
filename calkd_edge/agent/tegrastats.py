"""NVIDIA's tegrastats: a parser of its lines, and the running command, for boards without readable rails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import Any

from calkd_edge.agent.sensors import NO_ZONE, is_temperature

MAX_LINE = 4096
# The first of up to three values with slashes is current; the others are averages or maxima since the start.
RAIL = re.compile(r"(?<!\S)([A-Z]\w*) ([0-9]{1,9})(mW)?((?:/[0-9]{1,9}(?:mW)?){0,2})(?!\S)", re.A)
ZONE = re.compile(r"(?<!\S)([A-Za-z][\w.-]*)@(-?[0-9]{1,4}(?:\.[0-9]{1,9})?)C(?:/\S*)?(?!\S)", re.A)
UNIT = re.compile(r"(?<!\S)(GR3D|EMC)_FREQ (?:([0-9]{1,3})%)?@?\[?([0-9]{1,5})?", re.A)
CORES = re.compile(r"(?<!\S)CPU \[([^\]]*)\](?:@([0-9]{1,5}))?", re.A)
CORE = re.compile(r"([0-9]{1,3})%(?:@([0-9]{1,5}))?\Z", re.A)
MEMORY = re.compile(r"(?<!\S)(RAM|SWAP) ([0-9]{1,9})/[0-9]{1,9}MB", re.A)
UNITS = {"GR3D": "gpu", "EMC": "emc"}


def parse(line: str) -> dict[str, float]:
    """The current values of a line, by column; unknown parts are skipped, and nothing raises.

    Columns are those of sensors (power_mw.VDD_IN, temperature_c.tj, clock_mhz.gpu), and load_percent.cpu0 and
    the like, memory_mb.ram and memory_mb.swap in use. Cores that are off have no columns.
    """
    values: dict[str, float] = {}
    line = line[:MAX_LINE]
    for name, value, unit, more in RAIL.findall(line):
        if (unit or more) and name != "NC":
            values.setdefault("power_mw." + name, float(value))
    for name, value in ZONE.findall(line):
        if is_temperature(float(value)) and not NO_ZONE.match(name):
            values.setdefault("temperature_c." + name, float(value))
    for name, load, clock in UNIT.findall(line):
        _add(values, UNITS[name], load, clock)
    for cores, common in CORES.findall(line)[:1]:
        for number, core in enumerate(cores.split(",")):
            match = CORE.match(core.strip())
            if match:
                _add(values, f"cpu{number}", match.group(1), match.group(2) or common)
    for name, value in MEMORY.findall(line):
        values.setdefault("memory_mb." + name.lower(), float(value))
    return values


def _add(values: dict[str, float], name: str, load: str, clock: str) -> None:
    if load:
        values.setdefault("load_percent." + name, float(load))
    if clock:
        values.setdefault("clock_mhz." + name, float(clock))


class Tegrastats:
    """The command, running; a context manager that never raises.

    Attributes:
        latest: its last line, parsed.
        latest_ns: time.perf_counter_ns of that line.

    Args:
        command: its path.
        interval_ms: between two lines.
    """

    def __init__(self, command: str, interval_ms: int = 100) -> None:
        self._argv = [command, "--interval", str(interval_ms)]
        self._process: Any = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._has_line = threading.Event()
        self.latest: dict[str, float] = {}
        self.latest_ns = 0

    def __enter__(self) -> Tegrastats:
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            self._has_line.set()
            return self
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._thread.join(2)

    def _signal(self, number: int) -> None:
        """Send a signal to the command and its children."""
        with suppress(OSError):
            os.killpg(self._process.pid, number)

    def power(self, timeout_s: float) -> dict[str, float]:
        """Milliwatts by rail of the last line; waits for the first one; empty where lines have no rails."""
        self._has_line.wait(timeout_s)
        kind = "power_mw."
        return {name[len(kind) :]: value for name, value in self.latest.items() if name.startswith(kind)}

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in iter(lambda: lines.readline(MAX_LINE), b""):
                self.latest, self.latest_ns = parse(line.decode("utf-8", "replace")), time.perf_counter_ns()
                self._has_line.set()
        self._has_line.set()
