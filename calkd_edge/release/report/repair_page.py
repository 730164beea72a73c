"""The page of a repair: confidence before and after, and where the calibration went."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from calkd_edge.files import replacing
from calkd_edge.records import Estimate, Quality, Repair
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.confidence_tables import FURTHER
from calkd_edge.release.report.definitions import definitions
from calkd_edge.release.report.page import Figure
from calkd_edge.release.report.report import TEMPLATES, environment

TERMS = (
    "[low, high]",
    "top-1, top-5",
    "NLL",
    "Brier",
    "ECE",
    "chance",
    "ACE",
    "T",
    "p; chance, 95 %",
    "SCE, RMSCE, L2, MCE",
    "smECE, KS",
    "Brier, top",
    "gap, refinement",
    "AUROC, AURC",
)
"""Of the definitions, those that this page needs."""

Line = tuple[str, str, str, str]
"""Name, before, after, paired change."""


def comparison(repair: Repair) -> list[Line]:
    """Figure by figure, before and after; changes on the same images where they have an interval."""
    if repair.before is None or repair.after is None:
        return [
            (
                "confidence",
                numbers.percent(repair.mean_confidence_before),
                numbers.percent(repair.mean_confidence_after),
                "",
            )
        ]
    before, after = repair.before, repair.after
    named: list[tuple[str, str, str, Estimate | None]] = [
        ("top-1", "top1", "share", repair.top1_change),
        ("NLL", "nll", "nats", repair.nll_change),
        ("Brier", "brier", "nats", repair.brier_change),
        ("ECE", "ece", "share", None),
        ("ACE", "ace_toplabel", "share", None),
        ("ACE, classwise", "ace_classwise", "share", None),
    ]
    lines = [
        (
            name,
            numbers.estimate(getattr(before, key), unit),
            numbers.estimate(getattr(after, key), unit),
            "" if change is None else numbers.estimate(change, unit),
        )
        for name, key, unit, change in named
    ]
    shown = [numbers.percent(quality.mean_confidence) for quality in (before, after)]
    return [lines[0], ("confidence", shown[0], shown[1], ""), *lines[1:]]


def thresholds(repair: Repair) -> list[tuple[str, ...]]:
    """Threshold, taken before and after, right of these before and after."""
    if repair.before is None or repair.after is None:
        return []
    return [
        (
            f"{was.threshold:g}",
            numbers.estimate(was.coverage, "share"),
            numbers.estimate(now.coverage, "share"),
            numbers.estimate(was.precision, "share"),
            numbers.estimate(now.precision, "share"),
        )
        for was, now in zip(repair.before.thresholds, repair.after.thresholds, strict=True)
    ]


def further(repair: Repair) -> list[tuple[str, str, str]]:
    """Every other figure of confidence, before and after."""
    if repair.before is None or repair.after is None:
        return []
    before, after = repair.before, repair.after
    return [(name, cell(before), cell(after)) for name, cell in FURTHER if not name.startswith("ACE")]


def how(repair: Repair) -> str:
    """How the calibration entered the file, with the proof."""
    fitted = repair.calibration
    if fitted.proof is None:
        return fitted.fold_reason or "no file was calibrated"
    reason = f" ({fitted.fold_reason})" if fitted.fold_reason else ""
    proof = fitted.proof
    return (
        f"{fitted.fold.replace('_', ' ')}{reason}; against calibrating by hand: "
        f"{proof.max_logit_difference:.1e} in logits (allowed {proof.tolerance:.1e}), "
        f"{proof.max_probability_difference:.1e} in probability, {proof.argmax_changes} answers moved on "
        f"{proof.images:,} inputs"
    )


def render_repair(repair: Repair) -> str:
    """The page as text: self-contained, without script."""
    bins = repair.before.bins if repair.before else 15
    panels = [
        Figure(f"{when}: ECE {numbers.percent(q.ece.value)}", _diagram(q, when))
        for when, q in (("before", repair.before), ("after", repair.after))
        if q is not None
    ]
    content = {
        "repair": repair,
        "style": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "lines": comparison(repair),
        "thresholds": thresholds(repair),
        "further": further(repair),
        "panels": panels,
        "how": how(repair),
        "temperature": numbers.temperature(
            repair.calibration.temperature,
            repair.calibration.se[0] if repair.calibration.se and len(repair.calibration.se) == 1 else None,
        ),
        "definitions": [(term, text) for term, text in definitions(bins) if term in TERMS],
    }
    return environment(autoescape=True).get_template("repair.html.j2").render(content)


def _diagram(quality: Quality, when: str) -> Markup:
    return Markup(figures.reliability(quality, title=f"Reliability {when}"))


def write_repair(repair: Repair, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write the record as JSON and the page, beside the calibrated file; returns both paths."""
    written = []
    for name, text in (
        (f"{stem}.json", repair.model_dump_json(indent=1) + "\n"),
        (f"{stem}.html", render_repair(repair)),
    ):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written[0], written[1]
