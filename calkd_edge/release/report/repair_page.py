"""The page of a calibrated file: confidence before and after, and how the calibration entered the file."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from calkd_edge.files import replacing
from calkd_edge.records import Estimate, Quality, Repair
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.definitions import definitions
from calkd_edge.release.report.page import stylesheet, template_environment
from calkd_edge.release.report.section import Figure, Table
from calkd_edge.release.report.sections.further import FIGURES

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
"""Terms of the definitions that this page shows."""

AT_THRESHOLD = ("threshold", "taken before", "taken after", "right of these before", "right of these after")

Line = tuple[str, str, str, str]
"""Name, before, after, paired change."""


def comparison(repair: Repair) -> list[Line]:
    """Every main figure before and after; its change on the same images where that has an interval."""
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
    main_figures: list[tuple[str, str, str, Estimate | None]] = [
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
        for name, key, unit, change in main_figures
    ]
    confidence = numbers.percent(before.mean_confidence), numbers.percent(after.mean_confidence)
    return [lines[0], ("confidence", *confidence, ""), *lines[1:]]


def thresholds(repair: Repair) -> list[tuple[str, ...]]:
    """Per threshold: coverage before and after, precision before and after."""
    if repair.before is None or repair.after is None:
        return []
    return [
        (
            f"{before.threshold:g}",
            numbers.estimate(before.coverage, "share"),
            numbers.estimate(after.coverage, "share"),
            numbers.estimate(before.precision, "share"),
            numbers.estimate(after.precision, "share"),
        )
        for before, after in zip(repair.before.thresholds, repair.after.thresholds, strict=True)
    ]


def further(repair: Repair) -> list[tuple[str, str, str]]:
    """Every other figure of confidence, before and after."""
    if repair.before is None or repair.after is None:
        return []
    before, after = repair.before, repair.after
    return [(name, cell(before), cell(after)) for name, cell in FIGURES if not name.startswith("ACE")]


def fold_description(repair: Repair) -> str:
    """How the calibration entered the file, with the proof."""
    calibration, proof = repair.calibration, repair.calibration.proof
    if proof is None:
        return calibration.fold_reason or "no file was calibrated"
    reason = f" ({calibration.fold_reason})" if calibration.fold_reason else ""
    return (
        f"{calibration.fold.replace('_', ' ')}{reason}; compared with calibrating by hand: "
        f"{proof.max_logit_difference:.1e} in logits (allowed {proof.tolerance:.1e}), "
        f"{proof.max_probability_difference:.1e} in probability, {proof.argmax_changes} answers changed on "
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
        "style": stylesheet(),
        "lines": Table(
            ("figure", "before", "after", "change, same images"), tuple(comparison(repair)), keys=1
        ),
        "thresholds": Table(AT_THRESHOLD, tuple(thresholds(repair)), keys=1),
        "further": Table(("figure", "before", "after"), tuple(further(repair)), keys=1),
        "panels": panels,
        "fold": fold_description(repair),
        "temperature": numbers.temperature_of(repair.calibration),
        "definitions": [(term, text) for term, text in definitions(bins) if term in TERMS],
    }
    return template_environment(autoescape=True).get_template("repair.html.j2").render(content)


def _diagram(quality: Quality, when: str) -> Markup:
    return Markup(figures.reliability(quality, title=f"Reliability {when}"))


def write_repair(repair: Repair, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write STEM.json and STEM.html into `folder`, each completely or not at all; returns both paths."""
    paths = folder / f"{stem}.json", folder / f"{stem}.html"
    texts = repair.model_dump_json(indent=1) + "\n", render_repair(repair)
    for path, text in zip(paths, texts, strict=True):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths
