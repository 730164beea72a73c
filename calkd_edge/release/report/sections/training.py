"""Section Training: loss, top-1 and NLL of the teacher and the student by epoch."""

from __future__ import annotations

from markupsafe import Markup

from calkd_edge.records import Report
from calkd_edge.release.report import figures, numbers
from calkd_edge.release.report.section import Context, Figure, Section, packaged

SHOWN: dict[str, figures.Kind] = {"student": "first", "teacher": "second"}
FIGURES = (
    ("loss", "loss", "training", "nats"),
    ("top1", "top-1", "calibration", "share"),
    ("nll", "NLL", "calibration", "nats"),
)
"""Attribute of an epoch, name, images, unit."""


def _figure(report: Report, key: str, name: str, images: str, unit: str) -> Figure | None:
    lines = []
    for model, kind in SHOWN.items():
        values = [(float(e.epoch + 1), getattr(e, key)) for e in report.training.get(model, ())]
        known = tuple((epoch, value) for epoch, value in values if value is not None)
        if known:
            lines.append(figures.Line(model, known, kind))
    if not lines:
        return None
    heights = [value for line in lines for _, value in line.points]
    last = max(epoch for line in lines for epoch, _ in line.points)
    scale = figures.shares(name, low=min(heights), high=max(heights)) if unit == "share" else None
    ends = "; ".join(f"{line.name}: {numbers.in_unit(line.points[-1][1], unit)}" for line in lines)
    svg = figures.curves(
        lines,
        x=figures.epochs(last),
        y=scale or figures.spanning(heights, name, from_zero=True),
        title=f"By epoch: {name} on {images} images",
        description=f"In the last epoch, {ends}.",
    )
    return Figure(f"{name[0].upper()}{name[1:]} on {images} images; in the end {ends}", Markup(svg))


def _context(report: Report) -> Context | None:
    drawn = [figure for row in FIGURES if (figure := _figure(report, *row)) is not None]
    return {"drawn": drawn} if drawn else None


TRAINING = Section("training", "Training", packaged("training"), _context)
