"""What the page shows, made ready: figures in pairs, proofs in words, nested facts as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from calkd_edge.records import Calibration, Json, Measurement, Quality, Report
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report import figures, numbers

LEADS = {
    "passed": "Every limit is kept, with the whole interval inside it.",
    "failed": "At least one limit is broken or was not measured.",
    "undecided": "No limit is broken, but the evidence is too small to say that all are kept.",
    "smoke": "A rehearsal with tiny numbers: every stage ran, and nothing measured here means anything.",
}
LONGEST_LIST = 400

_ORDER = ("failed", "unmeasured", "undecided", "passed")


@dataclass(frozen=True)
class Figure:
    """An inline SVG with its caption."""

    caption: str
    svg: Markup


@dataclass(frozen=True)
class Pair:
    """A model's reliability before and after calibration."""

    title: str
    panels: tuple[Figure, ...]


def summary(report: Report) -> str:
    """How many gates had which outcome, as one line."""
    if not report.gates:
        return "The recipe sets no gates."
    counted: Counter[str] = Counter(gate.result for gate in report.gates)
    parts = [f"{counted[outcome]} {outcome}" for outcome in _ORDER if counted[outcome]]
    total = len(report.gates)
    return f"{total} {'gate' if total == 1 else 'gates'}: {', '.join(parts)}."


def gates(report: Report) -> list[tuple[str, str]]:
    """(outcome, sentence without its outcome), what needs attention first."""
    ranked = sorted(report.gates, key=lambda gate: _ORDER.index(gate.result))
    return [(gate.result, gate.sentence.replace(f": {gate.result}", "", 1)) for gate in ranked]


def pairs(report: Report) -> list[Pair]:
    """Reliability diagrams of each calibrated measurement, beside its uncalibrated one where scored."""
    out = []
    for m, label in _shipped(report):
        raw = next(
            (one for one in report.measurements if _place(one) == _place(m) and not one.calibrated), None
        )
        panels = []
        if raw is not None and raw.quality is not None:
            panels.append(_reliability(raw.quality, "before", label))
        if m.quality is not None:
            panels.append(_reliability(m.quality, "after calibration", label))
        if panels:
            out.append(Pair(label, tuple(panels)))
    return out


def _reliability(quality: Quality, when: str, label: str) -> Figure:
    caption = (
        f"{when}: ECE {numbers.percent(quality.ece.value)} ≤ {numbers.percent(quality.ece.high)}, "
        f"chance {numbers.percent(quality.ece_floor)}"
    )
    return Figure(caption, Markup(figures.reliability(quality, title=f"Reliability of {label}, {when}")))


def confidences(report: Report) -> list[Figure]:
    """Confidence histograms of the calibrated measurements."""
    return [
        Figure(label, Markup(figures.confidence_histogram(m.quality, title=f"Confidence of {label}")))
        for m, label in _shipped(report)
        if m.quality is not None
    ]


def latencies(report: Report) -> list[Figure]:
    """Latency distributions of whatever was timed where a time says something about speed."""
    out = []
    for m, label in zip(report.measurements, labels_of(report.measurements), strict=True):
        summary = None if m.emulated else m.latency_ms
        drawn = figures.latency(summary, title=f"Latency of {label}") if summary else ""
        if summary is None or not drawn:
            continue
        threads = f"{summary.threads} {'thread' if summary.threads == 1 else 'threads'}"
        caption = (
            f"{label}: {summary.samples:,} runs worth {summary.effective_samples:,.0f} independent ones, "
            f"{summary.profile}, {summary.processes} {'process' if summary.processes == 1 else 'processes'}, "
            f"{threads}, measured {summary.measured_at}{'' if summary.steady else ', NOT STEADY'}"
        )
        out.append(Figure(caption, Markup(drawn)))
    return out


def proofs(report: Report) -> list[tuple[str, ...]]:
    """Per folded file: name, how, images, largest difference, tolerance, difference in p, flips, ties."""
    out: list[tuple[str, ...]] = []
    for m, label in _shipped(report):
        proof = m.calibration.proof if m.calibration else None
        if m.calibration is None or proof is None:
            continue
        out.append(
            (
                label,
                _how(m.calibration),
                f"{proof.images:,}",
                f"{proof.max_logit_difference:.1e}",
                f"{proof.tolerance:.1e}",
                f"{proof.max_probability_difference:.1e}",
                f"{proof.argmax_changes:,}",
                f"{proof.near_ties:,}",
            )
        )
    return out


def _how(calibration: Calibration) -> str:
    reason = f": {calibration.fold_reason}" if calibration.fold_reason else ""
    return calibration.fold.replace("_", " ") + reason


def calibrations(report: Report) -> list[tuple[str, ...]]:
    """Per calibrated file: name, method, T ± se, status, where it was fitted, NLL before and after."""
    out: list[tuple[str, ...]] = []
    for m, label in _shipped(report):
        fitted = m.calibration
        if fitted is None:
            continue
        error = fitted.se[0] if fitted.se and len(fitted.se) == 1 else None
        out.append(
            (
                label,
                fitted.method,
                numbers.temperature(fitted.temperature, error),
                fitted.status,
                f"{fitted.images:,} {fitted.split} images",
                numbers.nats(fitted.nll_before),
                numbers.nats(fitted.nll_after),
                "; ".join(fitted.warnings) or numbers.MISSING,
            )
        )
    return out


def facts(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Data, models, devices and environment as titled lists of lines."""
    groups: list[tuple[str, Json]] = [("Data", report.data), ("Models", report.models)]
    groups += [(f"Device {name}", facts.model_dump(mode="json")) for name, facts in report.devices.items()]
    groups.append(("Environment", report.environment))
    return [(title, list(_lines(tree, ""))) for title, tree in groups if tree]


def _lines(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Dotted names and their values; long lists are cut with their length told."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{path}.{key}" if path else str(key))
        return
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for place, inner in enumerate(value):
            yield from _lines(inner, f"{path}[{place}]")
        return
    if isinstance(value, list):
        text = ", ".join(str(inner) for inner in value)
        cut = text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]}… ({len(value):,} in all)"
        yield path, cut or numbers.MISSING
        return
    yield path, numbers.MISSING if value is None else str(value)


def _shipped(report: Report) -> list[tuple[Measurement, str]]:
    named = zip(report.measurements, labels_of(report.measurements), strict=True)
    return [(m, label) for m, label in named if m.calibrated]


def _place(m: Measurement) -> tuple[str, str, str, str]:
    return (m.model, m.precision, m.device, m.runtime)
