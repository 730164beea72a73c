"""Which precision to ship on each device: the gates decide first, then time and size.

In scope: choosing among measured files, and saying why. Out of scope: measuring, judging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from calkd_edge.devices.core_names import processor_name
from calkd_edge.metrics.latency import doubts_of, p50_ratio, typical_p50
from calkd_edge.records import DeviceFacts, GateResult, LatencySummary, Measurement, Recommendation
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.gates.sample_size import largest_samples

_WORST = ("failed", "unmeasured", "undecided")


def recommendations(
    measurements: Sequence[Measurement],
    gates: Sequence[GateResult],
    verdict: str,
    devices: Mapping[str, DeviceFacts],
) -> tuple[Recommendation, ...]:
    """One recommendation for each device and runtime on which the student was measured.

    Among the precisions whose own gates passed, the fastest: those that are not surely slower than it count
    as equally fast (the interval of the ratio of their p50 holds 1), and the smallest file of them is
    recommended. Where times are unknown, those of an emulated device, or do not decide, the smallest file is.

    Args:
        measurements: of the release.
        gates: their outcomes.
        verdict: of the release: only a passed one ships.
        devices: facts of each device.
    """
    if verdict == "smoke":
        return ()
    labels = labels_of(measurements)
    by_target: dict[tuple[str, str], list[tuple[Measurement, str]]] = {}
    for m, label in zip(measurements, labels, strict=True):
        if m.model == "student" and m.calibrated:
            by_target.setdefault((m.device, m.runtime), []).append((m, label))
    made = {
        (device, runtime): _for_target(rows, gates, verdict, devices.get(device))
        for (device, runtime), rows in by_target.items()
    }
    times = {
        (one.device, one.runtime): latency
        for target, one in made.items()
        for m, _ in by_target[target]
        if m.precision == one.precision and (latency := _latency(m)) is not None
    }
    return tuple(
        one.model_copy(update={"runtimes": _of_other_runtimes(one, made.values(), times, devices)})
        for one in made.values()
    )


def _of_other_runtimes(
    one: Recommendation,
    made: Iterable[Recommendation],
    times: Mapping[tuple[str, str], LatencySummary],
    devices: Mapping[str, DeviceFacts],
) -> str:
    """Which other runtime of the device is faster, and which of them were not measured."""
    here = [other for other in made if other.device == one.device]
    mine, sentences = times.get((one.device, one.runtime)), []
    for other in here:
        latency = times.get((other.device, other.runtime))
        ratio = None if mine is None or latency is None else p50_ratio(latency, mine)
        if ratio is not None and ratio.high < 1:
            sentences.append(
                f"{other.runtime} is faster here: {other.precision} takes {ratio.value:.2f} of the time."
            )
    facts, measured = devices.get(one.device), {other.runtime for other in here}
    idle = [] if facts is None else sorted(set(facts.runtimes) - measured)
    if idle and one is here[0]:
        verb = "is on this device and was" if len(idle) == 1 else "are on this device and were"
        sentences.append(f"{' and '.join(idle)} {verb} not measured: --device {one.device}:{idle[0]}.")
    return " ".join(sentences)


def _for_target(
    rows: Sequence[tuple[Measurement, str]],
    gates: Sequence[GateResult],
    verdict: str,
    facts: DeviceFacts | None,
) -> Recommendation:
    first = rows[0][0]
    target = f"{first.device} ({_real_name(facts)}{first.runtime})"
    outcomes = {label: _outcome(gate for gate in gates if gate.measurement == label) for _, label in rows}
    able = [m for m, label in rows if outcomes[label] == "" and m.size_bytes]
    if not able:
        reasons = "; ".join(f"{m.precision} {outcomes[label] or 'was not measured'}" for m, label in rows)
        is_open = all(text.startswith("is undecided") for text in outcomes.values())
        head = "Nothing can be shipped yet" if is_open else "Nothing to ship"
        return _recommend(first, None, f"{head} on {target}: {reasons}.", ())
    best = _chosen(able)
    others = tuple(_compared(m, best) for m in able if m is not best)
    others += tuple(f"{m.precision} {outcomes[label]}" for m, label in rows if outcomes[label])
    why = f": {'; '.join(others)}" if others else ": it is the only precision"
    if verdict != "passed":
        state = "has failed" if verdict == "failed" else f"is {verdict}"
        sentence = (
            f"Nothing ships as it stands, since the release {state}; "
            f"{best.precision} passed its own gates on {target}{why}."
        )
        return _recommend(first, None, sentence, others)
    label = next(label for m, label in rows if m is best)
    unjudged = "" if any(gate.measurement == label for gate in gates) else ", which no gate judges,"
    return _recommend(first, best, f"Ship {best.file}{unjudged} on {target}{why}.", others)


def _recommend(
    first: Measurement, best: Measurement | None, sentence: str, others: tuple[str, ...]
) -> Recommendation:
    return Recommendation(
        device=first.device,
        runtime=first.runtime,
        precision=best.precision if best else None,
        file=best.file if best else None,
        sha256=best.sha256 if best else None,
        sentence=sentence,
        others=others,
    )


def _real_name(facts: DeviceFacts | None) -> str:
    """The board or the processor, before the runtime's name."""
    if facts is None:
        return ""
    name = facts.board if facts.board not in ("", facts.machine) else processor_name(facts.cpu)
    return f"{name}, " if name else ""


def _outcome(gates: Iterable[GateResult]) -> str:
    """The worst outcome of a file's gates with their names; empty where all passed."""
    results = list(gates)
    for outcome in _WORST:
        these = [gate for gate in results if gate.result == outcome]
        if these:
            needed = largest_samples(gate.needed for gate in these if gate.needed)
            verb = "failed" if outcome == "failed" else f"is {outcome} in"
            labels = ", ".join(dict.fromkeys(gate.label for gate in these))
            return f"{verb} {labels}{f' ({needed})' if needed else ''}"
    return ""


def _chosen(able: Sequence[Measurement]) -> Measurement:
    """The smallest of the fastest files."""
    known = [latency for m in able if (latency := _latency(m)) is not None]
    fastest = able
    if len(known) == len(able):
        least = min(known, key=typical_p50)
        fastest = [m for m, each in zip(able, known, strict=True) if not _is_slower(each, least)]
    return min(fastest, key=lambda m: m.size_bytes)


def _is_slower(latency: LatencySummary, other: LatencySummary) -> bool:
    """Whether it surely takes longer than the other."""
    ratio = p50_ratio(latency, other)
    return ratio is not None and ratio.low > 1


def _latency(m: Measurement) -> LatencySummary | None:
    """The times with bounds; None where they are unknown, an emulated device's, or do not decide."""
    if m.latency_ms is None or m.emulated or doubts_of(m.latency_ms):
        return None
    p50 = m.latency_ms.p50
    return m.latency_ms if None not in (p50.value, p50.low, p50.high) else None


def _compared(m: Measurement, best: Measurement) -> str:
    """What another precision would save and cost against the recommended one."""
    return f"{m.precision} {' and '.join(_changes(m, best))}"


def _changes(m: Measurement, best: Measurement) -> Iterator[str]:
    size = m.size_bytes / best.size_bytes - 1.0
    if size < 0:
        yield f"saves {-100 * size:.0f} % of the file"
    else:
        yield f"is {1.0 + size:.1f} times as large"
    mine, reference = _latency(m), _latency(best)
    ratio = None if mine is None or reference is None else p50_ratio(mine, reference)
    if m.emulated:
        yield "was timed on an emulated device, which shows no speed"
    elif ratio is None:
        summaries = [each.latency_ms for each in (m, best) if each.latency_ms is not None]
        doubts = [doubt for summary in summaries for doubt in doubts_of(summary)]
        yield f"was not timed well enough: {doubts[0]}" if doubts else "was not timed"
    elif ratio.low <= 1 <= ratio.high:
        yield "takes no measurably other time"
    elif ratio.value > 1:
        yield f"takes {ratio.value:.2f} times as long"
    else:
        yield f"takes {ratio.value:.2f} of its time"
