"""Numbers as text: one formatter for the terminal, the page and the gates' sentences."""

from __future__ import annotations

from calkd_edge.records import Calibration, Estimate, Percentile

MISSING = "–"

MOST_NATS = 1e6
"""Losses from here on are written with an exponent."""


def percent(share: float | None) -> str:
    """A share of 0..1 in per cent, two decimals below 10 %, one above."""
    if share is None:
        return MISSING
    value = 100 * share
    return f"{_no_minus_zero(f'{value:.2f}' if abs(value) < 9.995 else f'{value:.1f}')} %"


def nats(value: float | None) -> str:
    """A loss, three decimals; a huge one with three significant digits."""
    if value is not None and abs(value) >= MOST_NATS:
        return f"{value:.3g}"
    return MISSING if value is None else _no_minus_zero(f"{value:.3f}")


def milliseconds(value: float | None) -> str:
    """A time with three significant digits."""
    return MISSING if value is None else f"{_significant(value)} ms"


def size(value: float | None) -> str:
    """Bytes in kB, MB or GB of 1000, three significant digits."""
    if value is None:
        return MISSING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{_significant(value / scale)} {unit}"
    return f"{value:.0f} bytes"


def plain(value: float | None) -> str:
    """A bare number."""
    return MISSING if value is None else f"{value:g}"


def divergence(value: float | None) -> str:
    """A Kullback-Leibler divergence in nats, two significant digits: most are far below 0.01."""
    return MISSING if value is None else f"{value:.2g}"


FORMATS = {
    "share": percent,
    "nats": nats,
    "divergence": divergence,
    "ms": milliseconds,
    "bytes": size,
    "plain": plain,
}


def in_unit(value: float | None, unit: str) -> str:
    """A measured value in its unit."""
    return FORMATS[unit](value)


def limit_in_unit(value: float, unit: str) -> str:
    """A limit as its author wrote it: no digits added."""
    value += 0.0  # no minus before a zero
    if unit == "share":
        return f"{100 * value:.6g} %"
    return {"ms": f"{value:.6g} ms", "bytes": f"{value:,.15g} bytes"}.get(unit, f"{value:.6g}")


def interval(low: float | None, high: float | None, unit: str) -> str:
    """[low, high], or the empty string when neither is known."""
    return "" if low is None and high is None else f"[{in_unit(low, unit)}, {in_unit(high, unit)}]"


def estimate(value: Estimate | None, unit: str) -> str:
    """value [low, high]."""
    if value is None:
        return MISSING
    return f"{in_unit(value.value, unit)} {interval(value.low, value.high, unit)}"


def percentile(value: Percentile | None) -> str:
    """A latency percentile with its bounds, or "too few runs"."""
    if value is None:
        return MISSING
    if value.value is None:
        return "too few runs"
    return f"{milliseconds(value.value)} {interval(value.low, value.high, 'ms')}"


def temperature(value: float | None, error: float | None) -> str:
    """T ± its standard error."""
    if value is None:
        return MISSING
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def temperature_of(calibration: Calibration) -> str:
    """The fitted T ± its standard error; MISSING where the map is more than a temperature."""
    se = calibration.se
    return temperature(calibration.temperature, se[0] if se and len(se) == 1 else None)


def seconds(value: float) -> str:
    """A duration in the largest fitting unit."""
    if value >= 3600:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 60 else f"{value:.1f} s"


def _significant(value: float) -> str:
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def _no_minus_zero(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text
