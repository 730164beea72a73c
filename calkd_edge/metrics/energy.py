"""Energy of what was measured: the power of a module's rails over time, idle taken off, by inference.

In scope: arithmetic on the agent's samples. Out of scope: taking them, judging them. Rails stand behind the
board's power supply: a meter at the wall shows more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calkd_edge.records import Energy, FloatArray, IntArray

KIND = "power_mw."
TOTALS = ("VDD_IN", "VIN", "POM_5V_IN")
"""Rails that carry all others: Orin Nano and NX, Thor, Nano."""

INSIDE = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that another one carries, if the board has that: the memory's, on AGX Orin."""

EDGE_NS = 500_000_000
"""How far from a window's ends its outermost samples may lie: some periods of the sampler."""


def total_rails(columns: Sequence[str]) -> tuple[str, ...]:
    """Which rails make up a module's power: the one that carries all others alone, else every one."""
    rails = [name.removeprefix(KIND) for name in columns if name.startswith(KIND)]
    outer = tuple(rail for rail in rails if INSIDE.get(rail) not in rails)
    return next(((total,) for total in TOTALS if total in rails), outer)


def energy(
    times_ns: IntArray,
    values: FloatArray,
    columns: Sequence[str],
    window_ns: tuple[int, int],
    *,
    inferences: int | None = None,
    idle_ns: Sequence[tuple[int, int]] = (),
) -> Energy | None:
    """Energy of a module's rails in a window, by the trapezoidal rule between samples.

    A rail's samples that are NaN are left out. Power is taken to be straight between two samples, and level
    outside of the first and the last.

    Args:
        times_ns: [S], when each sample was taken; ascending.
        values: [S, C], power in milliwatts in the columns named power_mw.RAIL.
        columns: [C], their names.
        window_ns: begin and end on the clock of `times_ns`.
        inferences: how many of them fell into the window.
        idle_ns: windows in which nothing ran; the mean power of those that were measured is taken off.

    Returns:
        None where no power was measured, or the window has no sample at either end.

    Raises:
        ValueError: a window that ends before it begins, or no inferences.
    """
    if inferences is not None and inferences < 1:
        raise ValueError(f"energy is asked of {inferences} inferences")
    rails = total_rails(columns)
    used = _mean_w(times_ns, values, columns, rails, window_ns)
    if used is None:
        return None
    rests = [_mean_w(times_ns, values, columns, rails, rest_ns) for rest_ns in idle_ns]
    measured = [rest for rest in rests if rest is not None]
    idle_w = float(np.mean(measured)) if measured else None
    seconds = (window_ns[1] - window_ns[0]) / 1e9
    net = None if idle_w is None else (used - idle_w) * seconds
    count = inferences or 1
    return Energy(
        rails=rails,
        seconds=seconds,
        joules=used * seconds,
        mean_w=used,
        idle_w=idle_w,
        net_joules=net,
        inferences=inferences,
        joules_per_inference=None if inferences is None else used * seconds / count,
        net_joules_per_inference=None if inferences is None or net is None else net / count,
    )


def _mean_w(
    times_ns: IntArray,
    values: FloatArray,
    columns: Sequence[str],
    rails: Sequence[str],
    window_ns: tuple[int, int],
) -> float | None:
    """Mean watts of all `rails` together; None where one of them was not measured throughout."""
    begin, end = window_ns
    if end <= begin:
        raise ValueError(f"a window of energy ends at {end} ns and begins at {begin} ns")
    total = 0.0
    for rail in rails:
        power = values[:, list(columns).index(KIND + rail)]
        there = np.isfinite(power)
        times, power = times_ns[there], power[there]
        if not len(times) or times[0] > begin + EDGE_NS or times[-1] < end - EDGE_NS:
            return None
        inside = (times > begin) & (times < end)
        at = np.concatenate(([0.0], (times[inside] - begin) / 1e9, [(end - begin) / 1e9]))
        ends = np.interp([0.0, at[-1]], (times - begin) / 1e9, power)
        level = np.concatenate((ends[:1], power[inside], ends[1:]))
        total += float(np.sum((level[1:] + level[:-1]) / 2 * np.diff(at))) / at[-1]
    return total / 1000 if rails else None
