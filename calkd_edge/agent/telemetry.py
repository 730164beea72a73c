"""Power, temperatures, clocks and throttling ten times a second, while this process does other work.

Files are opened once and read at each sample: some microseconds each, without holding the interpreter.
Where only a command reports throttling, the first and the last sample have it, the others have gaps.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Sequence

import numpy as np

from calkd_edge.agent import board, sensors
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.tegrastats import Tegrastats

PERIOD_S = 0.1
FIRST_LINE_S = 1.0
STALE_NS = 1_000_000_000
"""An older line of tegrastats is not used."""

NAN = float("nan")


class Sampler:
    """Samples on a thread, from entering to leaving; a context manager that never raises.

    Attributes:
        columns: KIND.NAME, see `sensors`; set when it is entered.
        times_ns: time.perf_counter_ns in the middle of each sample.
        rows: the value of each column at each of those times; NaN where it cannot be read.
        source: of the power_mw columns: hwmon, tegrastats or none (None).

    Args:
        machine: what to sample; by default this machine.
        period_s: seconds between two samples.
    """

    def __init__(self, machine: Machine | None = None, period_s: float = PERIOD_S) -> None:
        self.machine = machine or Machine()
        self.period_s = period_s
        self.columns: tuple[str, ...] = ()
        self.times_ns: list[int] = []
        self.rows: list[list[float]] = []
        self.source: str | None = None
        self._open: list[tuple[list[int], sensors.Sensor]] = []
        self._stats: Tegrastats | None = None
        self._tegrastats_columns: list[str] = []
        self._firmware_columns: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        rails = self._open_sensors(sensors.rails(self.machine))
        if any(value == value for value in self._read()):
            self.source = "hwmon"
        else:
            self._close()
            rails = self._start_tegrastats()
        rest = sensors.zones(self.machine) + [clock.sensor for clock in sensors.clocks(self.machine)]
        rest += sensors.events(self.machine) + sensors.slowed(self.machine)
        firmware = self._open_sensors(sensors.firmware(self.machine))
        opened = firmware + self._open_sensors(rest)
        bits = [] if firmware else self._read_firmware()
        self._firmware_columns = [column for column, _ in sensors.firmware_columns()] if bits else []
        opened = opened + rails if self.source == "tegrastats" else rails + opened
        self.columns = tuple(opened + self._firmware_columns)
        self._sample(bits)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample(self._read_firmware() if self._firmware_columns else ())
        self._close()
        if self._stats is not None:
            self._stats.__exit__()

    def arrays(self) -> dict[str, np.ndarray]:
        """times_ns int64 [S], values float64 [S, C] and columns [C], as np.savez takes them."""
        return {
            "times_ns": np.array(self.times_ns, np.int64),
            "values": np.array(self.rows, np.float64).reshape(len(self.rows), len(self.columns)),
            "columns": np.array(self.columns, np.str_),
        }

    def _run(self) -> None:
        due = time.perf_counter() + self.period_s
        while not self._done.wait(max(0.0, due - time.perf_counter())):
            self._sample()
            # A late sample does not delay later ones, and a missed one is not repeated.
            due += self.period_s * max(1, -((due - time.perf_counter()) // self.period_s))

    def _sample(self, bits: Sequence[float] = ()) -> None:
        start = time.perf_counter_ns()
        row = self._read()
        if self._stats is not None:
            fresh = start - self._stats.latest_ns < STALE_NS
            latest = self._stats.latest if fresh else {}
            row += [latest.get(name, NAN) for name in self._tegrastats_columns]
        row += bits or [NAN] * len(self._firmware_columns)
        self.times_ns.append((start + time.perf_counter_ns()) // 2)
        self.rows.append(row)

    def _read(self) -> list[float]:
        row = []
        for descriptors, sensor in self._open:
            try:
                value = sensor.value_of(os.pread(descriptor, 64, 0) for descriptor in descriptors)
            except (OSError, ValueError):
                value = NAN
            row.append(value)
        return row

    def _open_sensors(self, selected: list[sensors.Sensor]) -> list[str]:
        """Open the files of the sensors that can be opened; returns their columns."""
        columns = []
        for sensor in selected:
            descriptors: list[int] = []
            try:
                for name in sensor.files:
                    descriptors.append(os.open(self.machine.real_path(name), os.O_RDONLY))
            except OSError:
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            self._open.append((descriptors, sensor))
            columns.append(sensor.column)
        return columns

    def _start_tegrastats(self) -> list[str]:
        """Start tegrastats, where it exists; returns its columns of power."""
        command = self.machine.which("tegrastats")
        if command is None:
            return []
        self._stats = Tegrastats(command, max(1, int(self.period_s * 1000)))
        self._stats.__enter__()
        self._tegrastats_columns = ["power_mw." + name for name in self._stats.power(FIRST_LINE_S)]
        if self._tegrastats_columns:
            self.source = "tegrastats"
        return self._tegrastats_columns

    def _read_firmware(self) -> list[float]:
        """The firmware bits of a Raspberry Pi now, by a command of some milliseconds; else empty."""
        bits = board.firmware_throttled(self.machine)
        return [] if bits is None else [float(bits >> bit & 1) for _, bit in sensors.firmware_columns()]

    def _close(self) -> None:
        for descriptors, _ in self._open:
            for descriptor in descriptors:
                os.close(descriptor)
        self._open = []
