"""Power, temperatures, clocks and throttling ten times a second, beside whatever else this process does.

Files are opened once and read anew at each sample: some microseconds each, in which the interpreter is free.
Where only a command tells of throttling, the first and the last sample have it and those between have gaps.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Sequence

import numpy as np

from calkd_edge.agent import board, sensors
from calkd_edge.agent.place import Place
from calkd_edge.agent.tegrastats import Tegrastats

PERIOD_S = 0.1
FIRST_LINE_S = 1.0
STALE_NS = 1_000_000_000
"""A line of tegrastats that is older says nothing of now."""

NAN = float("nan")


class Sampler:
    """Samples from entering to leaving, on a thread; a context manager that never raises.

    Attributes:
        columns: KIND.NAME, see `sensors`; known once it is entered.
        times_ns: time.perf_counter_ns of each sample, in the middle of taking it.
        rows: a value for each column at each of those times; NaN where it could not be read.
        source: what the power_mw columns come from: hwmon, tegrastats or nothing (None).

    Args:
        place: the machine; this one where it is not given.
        period_s: seconds between two samples.
    """

    def __init__(self, place: Place | None = None, period_s: float = PERIOD_S) -> None:
        self.place = place or Place()
        self.period_s = period_s
        self.columns: tuple[str, ...] = ()
        self.times_ns: list[int] = []
        self.rows: list[list[float]] = []
        self.source: str | None = None
        self._open: list[tuple[list[int], sensors.Sensor]] = []
        self._stats: Tegrastats | None = None
        self._told: list[str] = []
        self._asked: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        rails = self._opened(sensors.rails(self.place))
        if any(value == value for value in self._read()):
            self.source = "hwmon"
        else:
            self._close()
            rails = self._ask_tegrastats()
        rest = sensors.zones(self.place) + [clock.sensor for clock in sensors.clocks(self.place)]
        rest += sensors.events(self.place) + sensors.slowed(self.place)
        firmware = self._opened(sensors.firmware(self.place))
        opened = firmware + self._opened(rest)
        bits = [] if firmware else self._ask_firmware()
        self._asked = [column for column, _ in sensors.firmware_columns()] if bits else []
        opened = opened + rails if self.source == "tegrastats" else rails + opened
        self.columns = tuple(opened + self._asked)
        self._sample(bits)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample(self._ask_firmware() if self._asked else ())
        self._close()
        if self._stats is not None:
            self._stats.__exit__()

    def arrays(self) -> dict[str, Any]:
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
            # A sample that came late moves none of those behind it, and is not made up for.
            due += self.period_s * max(1, -((due - time.perf_counter()) // self.period_s))

    def _sample(self, bits: Sequence[float] = ()) -> None:
        begun = time.perf_counter_ns()
        row = self._read()
        if self._stats is not None:
            fresh = begun - self._stats.heard_ns < STALE_NS
            latest = self._stats.latest if fresh else {}
            row += [latest.get(name, NAN) for name in self._told]
        row += bits or [NAN] * len(self._asked)
        self.times_ns.append((begun + time.perf_counter_ns()) // 2)
        self.rows.append(row)

    def _read(self) -> list[float]:
        row = []
        for places, sensor in self._open:
            value = sensor.factor
            try:
                for place in places:
                    value *= sensor.number(os.pread(place, 64, 0))
            except (OSError, ValueError):
                value = NAN
            row.append(value)
        return row

    def _opened(self, wanted: list[sensors.Sensor]) -> list[str]:
        """Open the files of those sensors that allow it; the names of their columns."""
        names = []
        for sensor in wanted:
            places: list[int] = []
            try:
                for name in sensor.files:
                    places.append(os.open(self.place.real(name), os.O_RDONLY))
            except OSError:
                for place in places:
                    os.close(place)
                continue
            self._open.append((places, sensor))
            names.append(sensor.column)
        return names

    def _ask_tegrastats(self) -> list[str]:
        """Start tegrastats, where there is one that tells of power."""
        command = self.place.which("tegrastats")
        if command is None:
            return []
        self._stats = Tegrastats(command, max(1, int(self.period_s * 1000)))
        self._stats.__enter__()
        self._told = ["power_mw." + name for name in self._stats.power(FIRST_LINE_S)]
        if self._told:
            self.source = "tegrastats"
        return self._told

    def _ask_firmware(self) -> list[float]:
        """What a Raspberry Pi's firmware says now, by a command that takes some milliseconds; else empty."""
        said = board.firmware_throttled(self.place)
        return [] if said is None else [float(said >> bit & 1) for _, bit in sensors.firmware_columns()]

    def _close(self) -> None:
        for places, _ in self._open:
            for place in places:
                os.close(place)
        self._open = []
