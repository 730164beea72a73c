"""One row per measurement, formatted once: the terminal and the page show the same figures."""

from __future__ import annotations

from dataclasses import dataclass

from calkd_edge.records import GateResult, Measurement, Report
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report import numbers

COLUMNS = ("model", "calibrated", "device", "top-1", "NLL", "ECE", "T", "p50", "p95", "size", "gates")
EMULATED = "emulated"


@dataclass(frozen=True)
class Row:
    """A measurement as text; `numbers.MISSING` stands for what was not measured.

    Attributes:
        label: the measurement's name, as gates use it.
        model: model and precision.
        calibrated: yes or no.
        device: device and runtime, and whether the device is emulated.
        top1: value [low, high] in per cent.
        nll: in nats.
        ece: value and its upper bound, in per cent.
        temperature: T ± standard error.
        p50: median latency; EMULATED on an emulated device, whose times do not show speed.
        p95: 95th percentile of latency, likewise.
        size: of the file.
        verdict: the worst outcome among its gates.
    """

    label: str
    model: str
    calibrated: str
    device: str
    top1: str
    nll: str
    ece: str
    temperature: str
    p50: str
    p95: str
    size: str
    verdict: str

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of COLUMNS."""
        return (
            self.model,
            self.calibrated,
            self.device,
            self.top1,
            self.nll,
            self.ece,
            self.temperature,
            self.p50,
            self.p95,
            self.size,
            self.verdict,
        )


def rows(report: Report) -> list[Row]:
    """Every measurement of a report, in its order."""
    labels = labels_of(report.measurements)
    return [_row(m, label, report.gates) for m, label in zip(report.measurements, labels, strict=True)]


def _row(m: Measurement, label: str, gates: tuple[GateResult, ...]) -> Row:
    quality, latency = m.quality, m.latency_ms
    calibration = m.calibration if m.calibrated else None
    return Row(
        label=label,
        model=f"{m.model} {m.precision}",
        calibrated="yes" if m.calibrated else "no",
        device=f"{m.device} · {m.runtime}{f', {EMULATED}' if m.emulated else ''}",
        top1=numbers.estimate(quality.top1 if quality else None, "share"),
        nll=numbers.nats(quality.nll.value if quality else None),
        ece=numbers.MISSING
        if quality is None
        else f"{numbers.percent(quality.ece.value)} ≤ {numbers.percent(quality.ece.high)}",
        temperature=numbers.temperature_of(calibration) if calibration else numbers.MISSING,
        p50=EMULATED if m.emulated and latency else numbers.percentile(latency.p50 if latency else None),
        p95=EMULATED if m.emulated and latency else numbers.percentile(latency.p95 if latency else None),
        size=numbers.size(m.size_bytes),
        verdict=_worst([gate.result for gate in gates if gate.measurement == label]),
    )


def _worst(outcomes: list[str]) -> str:
    ranked = ("failed", "unmeasured", "undecided", "passed")
    return next((outcome for outcome in ranked if outcome in outcomes), numbers.MISSING)
