"""Whether a precision is worth using on a device: time, energy and size against its cost in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.benchmarking.ratios import ratio, typical
from calkd_edge.records import DeviceFacts, FloatArray, GateResult, Ratio, Report, TimedFile, Worth
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report import numbers
from calkd_edge.release.report.conclusions import why_not_faster

PRACTICAL = 1.05
"""A smaller change in time makes no difference to a product."""

PLAIN = "fp32"
MOST_TOP1_LOST, MOST_ECE_GAINED = 0.01, 0.02
"""Against fp32, if the recipe has no such gate: a file that costs more is not worth its speed."""

ROUNDING = 1e-9
GATED = {
    "top-1": ("top1", "top1_drop", "top1_drop_from_teacher"),
    "ECE": ("ece", "nll_rise", "coverage_shift", "precision_shift"),
}
"""Gates with which a recipe limits the cost of a precision."""


def worth(
    files: Sequence[TimedFile],
    samples: Mapping[str, Sequence[FloatArray]],
    *,
    device: str,
    runtime: str,
    facts: DeviceFacts,
    report: Report | None,
    doubts: Sequence[str] = (),
) -> tuple[tuple[Worth, ...], str | None]:
    """A verdict on each precision against fp32, and the recommended precision; None if none is certain.

    Args:
        files: all of one device.
        samples: milliseconds by precision, a series for each process, timed in turns.
        device: its name.
        runtime: executed them.
        facts: of the device.
        report: of the run, for its gates.
        doubts: why the times do not decide; with one, no verdict rests on them.
    """
    plain = next((file for file in files if file.precision == PLAIN), None)
    if plain is None:
        return (), None
    verdicts = tuple(
        _worth(file, plain, samples, runtime, facts, _gates(file.precision, device, runtime, report), doubts)
        for file in files
        if file.precision != PLAIN
    )
    gains = {item.ratio.value: item.precision for item in verdicts if item.worth == "yes" and item.ratio}
    if gains:
        return verdicts, gains[min(gains)]
    is_plain = bool(verdicts) and all(item.worth == "no" for item in verdicts) and not _missed(plain)
    return verdicts, PLAIN if is_plain else None


def _missed(file: TimedFile) -> str:
    """How often a file was too slow for the rate that was asked of it; empty where it never was."""
    if file.paced is None or not file.paced.missed:
        return ""
    return f"it missed {file.paced.missed} of {file.paced.ticks} ticks at {file.paced.rate_hz:g} Hz"


def _worth(
    file: TimedFile,
    plain: TimedFile,
    samples: Mapping[str, Sequence[FloatArray]],
    runtime: str,
    facts: DeviceFacts,
    gates: Sequence[GateResult],
    doubts: Sequence[str],
) -> Worth:
    size_ratio = file.size_bytes / plain.size_bytes
    size = f"its file is {size_ratio:.2f} of the size"
    if file.emulated:
        reason = f"{size}; this device is emulated: its speed is not reported"
        return _verdict(file, "emulated", None, size_ratio, None, reason)
    change = ratio(samples[file.precision], samples[PLAIN], paired=True)
    energy_ratio = _energy_ratio(file, plain)
    arguments = [_times(samples[file.precision], samples[PLAIN], change), size]
    if energy_ratio is not None:
        arguments.append(
            f"it uses {energy_ratio:.2f} of the energy per inference (module rails, without idle)"
        )
    arguments += _accuracy(file, plain)
    summary = "; ".join(arguments)
    failed = [f"a gate failed: {gate.label}" for gate in gates if gate.result == "failed"]
    costs = _costs(file, plain, {gate.metric for gate in gates if gate.result == "passed"})
    failed += [f"it {words}" for is_certain, words in costs if is_certain]
    failed += filter(None, [_missed(file)])
    if failed:
        return _verdict(file, "no", change, size_ratio, energy_ratio, f"{failed[0]}; {summary}")
    limiting = {metric for metrics in GATED.values() for metric in metrics}
    undecided = [gate for gate in gates if gate.metric in limiting and gate.result != "passed"]
    if undecided:
        reason = f"the gate {undecided[0].label} is {undecided[0].result}; {summary}"
        return _verdict(file, "undecided", change, size_ratio, energy_ratio, reason)
    if doubts:
        reason = f"the times do not decide: {doubts[0]}; {summary}"
        return _verdict(file, "undecided", change, size_ratio, energy_ratio, reason)
    if costs and change.high < 1:
        reason = f"it {costs[0][1]}, which may be chance: a gate on it in the recipe decides; {summary}"
        return _verdict(file, "undecided", change, size_ratio, energy_ratio, reason)
    if change.high < 1 and change.value <= 1 / PRACTICAL:
        return _verdict(file, "yes", change, size_ratio, energy_ratio, summary)
    why = why_not_faster(file.precision, runtime, facts)
    summary = f"{summary}. {why}" if why else summary
    if change.low > 1:
        reason = f"it is slower; {summary}"
    elif change.low > 1 / PRACTICAL:
        reason = f"it gains less than 5 % of the time; {summary}"
    else:
        reason = f"the runs do not decide whether it gains 5 %; {summary}"
        return _verdict(file, "undecided", change, size_ratio, energy_ratio, reason)
    return _verdict(file, "no", change, size_ratio, energy_ratio, reason)


def _verdict(
    file: TimedFile,
    verdict: str,
    change: Ratio | None,
    size_ratio: float,
    energy_ratio: float | None,
    reason: str,
) -> Worth:
    return Worth(
        precision=file.precision,
        worth=verdict,
        ratio=change,
        size_ratio=size_ratio,
        energy_ratio=energy_ratio,
        reason=reason,
    )


def span(change: Ratio) -> str:
    """A ratio of times in words."""
    return f"{change.value:.2f} of the time, between {change.low:.2f} and {change.high:.2f}"


def _times(file: Sequence[FloatArray], plain: Sequence[FloatArray], change: Ratio) -> str:
    """The typical times of both, whose quotient is the ratio."""
    both = " against ".join(numbers.milliseconds(typical(series)) for series in (file, plain))
    return f"{both} in {PLAIN} ({span(change)})"


def _accuracy(file: TimedFile, plain: TimedFile) -> list[str]:
    """The figures of both in the run's report, in words."""
    figures = []
    for name, value, reference in (("top-1", file.top1, plain.top1), ("ECE", file.ece, plain.ece)):
        if value is not None and reference is not None:
            figures.append(
                f"{name} {numbers.percent(value.value)} against {numbers.percent(reference.value)}"
            )
    if figures and file.measured_on is not None:
        figures[-1] += f" (on {file.measured_on})"
    return figures


def _energy_ratio(file: TimedFile, plain: TimedFile) -> float | None:
    used = [item.energy.net_joules_per_inference if item.energy else None for item in (file, plain)]
    if used[0] is None or used[1] is None or used[0] <= 0 or used[1] <= 0:
        return None
    return used[0] / used[1]


def _costs(file: TimedFile, plain: TimedFile, gated: set[str]) -> list[tuple[bool, str]]:
    """Losses against fp32 that no gain in speed is worth: whether each is certain, and its words."""
    if file.measured_on != plain.measured_on:
        return []
    costs = []
    if file.top1 is not None and plain.top1 is not None and not gated & set(GATED["top-1"]):
        lost, least = plain.top1.value - file.top1.value, plain.top1.value - file.top1.high
        costs.append((lost, least, MOST_TOP1_LOST, f"loses {100 * lost:.1f} points of top-1"))
    if file.ece is not None and plain.ece is not None and not gated & set(GATED["ECE"]):
        gained, least = file.ece.value - plain.ece.value, file.ece.low - plain.ece.value
        costs.append((gained, least, MOST_ECE_GAINED, f"gains {100 * gained:.1f} points of ECE"))
    return [(least > most, words) for value, least, most, words in costs if value > most + ROUNDING]


def _gates(precision: str, device: str, runtime: str, report: Report | None) -> list[GateResult]:
    """The gates on that file, on this device and runtime only."""
    measured = report.measurements if report else ()
    named = zip(labels_of(measured), measured, strict=True)
    file = ("student", precision, device, runtime)
    here = {label for label, m in named if (m.model, m.precision, m.device, m.runtime) == file}
    return [gate for gate in (report.gates if report else ()) if gate.measurement in here]
