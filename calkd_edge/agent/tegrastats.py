"""NVIDIA's tegrastats: its lines, and the command as a source of them where rails cannot be read as files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import Any

LONGEST = 4096
# Of up to three values with slashes the first is of now; the others are averages or maxima since the start.
RAIL = re.compile(r"(?<!\S)([A-Z]\w*) ([0-9]{1,9})(mW)?((?:/[0-9]{1,9}(?:mW)?){0,2})(?!\S)", re.A)
ZONE = re.compile(r"(?<!\S)([A-Za-z][\w.-]*)@(-?[0-9]{1,4}(?:\.[0-9]{1,9})?)C(?:/\S*)?(?!\S)", re.A)
UNIT = re.compile(r"(?<!\S)(GR3D|EMC)_FREQ (?:([0-9]{1,3})%)?@?\[?([0-9]{1,5})?", re.A)
CORES = re.compile(r"(?<!\S)CPU \[([^\]]*)\](?:@([0-9]{1,5}))?", re.A)
CORE = re.compile(r"([0-9]{1,3})%(?:@([0-9]{1,5}))?\Z", re.A)
MEMORY = re.compile(r"(?<!\S)(RAM|SWAP) ([0-9]{1,9})/[0-9]{1,9}MB", re.A)
UNITS = {"GR3D": "gpu", "EMC": "emc"}


def parse(line: str) -> dict[str, float]:
    """What a line says now, by column; what is not known is passed over, and nothing raises.

    Columns are those of sensors (power_mw.VDD_IN, temperature_c.tj, clock_mhz.gpu), and load_percent.cpu0 and
    the like, memory_mb.ram and memory_mb.swap in use. Cores that are off have none.
    """
    found: dict[str, float] = {}
    line = line[:LONGEST]
    for name, value, unit, more in RAIL.findall(line):
        if unit or more:
            found.setdefault("power_mw." + name, float(value))
    for name, value in ZONE.findall(line):
        found.setdefault("temperature_c." + name, float(value))
    for name, load, clock in UNIT.findall(line):
        _note(found, UNITS[name], load, clock)
    for cores, common in CORES.findall(line)[:1]:
        for number, core in enumerate(cores.split(",")):
            said = CORE.match(core.strip())
            if said:
                _note(found, f"cpu{number}", said.group(1), said.group(2) or common)
    for name, value in MEMORY.findall(line):
        found.setdefault("memory_mb." + name.lower(), float(value))
    return found


def _note(found: dict[str, float], name: str, load: str, clock: str) -> None:
    if load:
        found.setdefault("load_percent." + name, float(load))
    if clock:
        found.setdefault("clock_mhz." + name, float(clock))


class Tegrastats:
    """The command, running; a context manager that never raises.

    Attributes:
        latest: its last line, parsed.
        heard_ns: when that came, by time.perf_counter_ns.

    Args:
        command: its path.
        interval_ms: between two lines.
    """

    def __init__(self, command: str, interval_ms: int = 100) -> None:
        self._argv = [command, "--interval", str(interval_ms)]
        self._process: Any = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._heard = threading.Event()
        self.latest: dict[str, float] = {}
        self.heard_ns = 0

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
            self._heard.set()
            return self
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        self._end(signal.SIGTERM)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL)
            self._process.wait()
        self._thread.join(2)

    def _end(self, how: int) -> None:
        """Signal it and whatever it started."""
        with suppress(OSError):
            os.killpg(self._process.pid, how)

    def power(self, timeout_s: float) -> dict[str, float]:
        """Milliwatts by rail of the last line, once there is one; empty where lines have none."""
        self._heard.wait(timeout_s)
        kind = "power_mw."
        return {name[len(kind) :]: value for name, value in self.latest.items() if name.startswith(kind)}

    def _listen(self) -> None:
        with self._process.stdout as lines:
            for line in iter(lambda: lines.readline(LONGEST), b""):
                self.latest, self.heard_ns = parse(line.decode("utf-8", "replace")), time.perf_counter_ns()
                self._heard.set()
        self._heard.set()
