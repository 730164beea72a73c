"""Is a precision worth it on this device? Time, energy and size against what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.benchmarking.ratios import ratio
from calkd_edge.records import DeviceFacts, FloatArray, GateResult, Ratio, Report, TimedFile, Worth
from calkd_edge.release.report import numbers
from calkd_edge.release.report.conclusions import why_not_faster

PRACTICAL = 1.05
"""A change in time below this is none that a product feels."""

PLAIN = "fp32"
MOST_TOP1_LOST, MOST_ECE_GAINED = 0.01, 0.02
"""Against fp32, where the recipe gates nothing of the kind: a file that costs more is not worth its speed."""

ROUNDING = 1e-9
GATED = {
    "top-1": ("top1", "top1_drop", "top1_drop_from_teacher"),
    "ECE": ("ece", "nll_rise", "coverage_shift", "precision_shift"),
}
"""Gates by which a recipe says itself how much a precision may cost."""


def worth(
    files: Sequence[TimedFile],
    samples: Mapping[str, Sequence[FloatArray]],
    *,
    device: str,
    runtime: str,
    facts: DeviceFacts,
    report: Report | None,
) -> tuple[tuple[Worth, ...], str | None]:
    """A verdict on each precision against fp32, and the one to take; None where nothing can be said.

    Args:
        files: all of one device.
        samples: milliseconds by precision, a series for each process, timed in turns.
        device: its name.
        runtime: that ran them.
        facts: of the device.
        report: of the run, for its gates.
    """
    plain = next((one for one in files if one.precision == PLAIN), None)
    if plain is None:
        return (), None
    found = tuple(
        _worth(one, plain, samples, runtime, facts, _gates(one.precision, device, runtime, report))
        for one in files
        if one.precision != PLAIN
    )
    paying = [one for one in found if one.worth == "yes" and one.ratio is not None]
    if paying:
        return found, min(paying, key=lambda one: one.ratio.value if one.ratio else 1.0).precision
    return found, PLAIN if found and all(one.worth == "no" for one in found) else None


def _worth(
    own: TimedFile,
    plain: TimedFile,
    samples: Mapping[str, Sequence[FloatArray]],
    runtime: str,
    facts: DeviceFacts,
    gates: Sequence[GateResult],
) -> Worth:
    size_ratio = own.size_bytes / plain.size_bytes
    size = f"its file is {size_ratio:.2f} of the size"
    if own.emulated:
        reason = f"{size}; this device is emulated: nothing is claimed of its speed"
        return _verdict(own, "emulated", None, size_ratio, None, reason)
    found = ratio(samples[own.precision], samples[PLAIN], paired=True)
    energy_ratio = _energy_ratio(own, plain)
    facts_told = [_times(own, plain, found), size]
    if energy_ratio is not None:
        facts_told.append(f"it takes {energy_ratio:.2f} of the energy an inference (module rails, idle off)")
    facts_told += _accuracy(own, plain)
    told = "; ".join(facts_told)
    failed = [f"a gate failed: {gate.metric}" for gate in gates if gate.result == "failed"]
    costs = _costs(own, plain, {gate.metric for gate in gates})
    failed += [f"it {words}" for is_sure, words in costs if is_sure]
    if failed:
        return _verdict(own, "no", found, size_ratio, energy_ratio, f"{failed[0]}; {told}")
    if costs and found.high < 1:
        said = f"it {costs[0][1]}, if that is no chance: a gate on it in the recipe decides; {told}"
        return _verdict(own, "undecided", found, size_ratio, energy_ratio, said)
    if found.high < 1 and found.value <= 1 / PRACTICAL:
        return _verdict(own, "yes", found, size_ratio, energy_ratio, told)
    why = why_not_faster(own.precision, runtime, facts)
    told = f"{told}. {why}" if why else told
    if found.low > 1:
        said = f"it is slower; {told}"
    elif found.low > 1 / PRACTICAL:
        said = f"it gains less than 5 % of the time; {told}"
    else:
        said = f"the runs do not decide whether it gains 5 %; {told}"
        return _verdict(own, "undecided", found, size_ratio, energy_ratio, said)
    return _verdict(own, "no", found, size_ratio, energy_ratio, said)


def _verdict(
    own: TimedFile,
    said: str,
    found: Ratio | None,
    size_ratio: float,
    energy_ratio: float | None,
    reason: str,
) -> Worth:
    return Worth(
        precision=own.precision,
        worth=said,
        ratio=found,
        size_ratio=size_ratio,
        energy_ratio=energy_ratio,
        reason=reason,
    )


def span(found: Ratio) -> str:
    """A ratio of times in words."""
    return f"{found.value:.2f} of the time, between {found.low:.2f} and {found.high:.2f}"


def _times(own: TimedFile, plain: TimedFile, found: Ratio) -> str:
    medians = [one.latency_ms.p50.value if one.latency_ms else None for one in (own, plain)]
    return f"p50 {' against '.join(map(numbers.milliseconds, medians))} in {PLAIN} ({span(found)})"


def _accuracy(own: TimedFile, plain: TimedFile) -> list[str]:
    """What the run's report says of both, in words."""
    told = []
    for name, ours, theirs in (("top-1", own.top1, plain.top1), ("ECE", own.ece, plain.ece)):
        if ours is not None and theirs is not None:
            told.append(f"{name} {numbers.percent(ours.value)} against {numbers.percent(theirs.value)}")
    if told and own.measured_on is not None:
        told[-1] += f" (on {own.measured_on})"
    return told


def _energy_ratio(own: TimedFile, plain: TimedFile) -> float | None:
    used = [one.energy.net_joules_per_inference if one.energy else None for one in (own, plain)]
    if used[0] is None or used[1] is None or used[0] <= 0 or used[1] <= 0:
        return None
    return used[0] / used[1]


def _costs(own: TimedFile, plain: TimedFile, gated: set[str]) -> list[tuple[bool, str]]:
    """What it loses against fp32 beyond what anybody would give for speed: whether that is sure, in words."""
    if own.measured_on != plain.measured_on:
        return []
    told = []
    if own.top1 is not None and plain.top1 is not None and not gated & set(GATED["top-1"]):
        lost, least = plain.top1.value - own.top1.value, plain.top1.value - own.top1.high
        told.append((lost, least, MOST_TOP1_LOST, f"loses {100 * lost:.1f} points of top-1"))
    if own.ece is not None and plain.ece is not None and not gated & set(GATED["ECE"]):
        gained, least = own.ece.value - plain.ece.value, own.ece.low - plain.ece.value
        told.append((gained, least, MOST_ECE_GAINED, f"gains {100 * gained:.1f} points of ECE"))
    return [(least > most, words) for found, least, most, words in told if found > most + ROUNDING]


def _gates(precision: str, device: str, runtime: str, report: Report | None) -> list[GateResult]:
    """The gates on that file, on this device alone."""
    name = f"student {precision} on {device}"
    here = (name, f"{name}:{runtime}")
    return [one for one in (report.gates if report else ()) if one.measurement in here]
