"""Section Thresholds: what each confidence threshold takes, and how much of that is right."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from calkd_edge.records import AtThreshold, GuaranteedThreshold, Report, ThresholdShift
from calkd_edge.release.report import figures, headline, numbers
from calkd_edge.release.report.section import Context, Figure, Section, Table, labelled, packaged


def thresholds(report: Report) -> Table:
    """Per measurement: the share of images that reach each threshold, and top-1 among them."""
    scored = [(m, label, m.quality) for m, label in labelled(report) if m.quality is not None]
    levels = head(scored[0][2].thresholds) if scored else ()
    lines = [
        (label.replace(" (uncalibrated)", ""), "yes" if m.calibrated else "no", *cells(quality.thresholds))
        for m, label, quality in scored
    ]
    return Table(("file", "calibrated", *levels), tuple(lines if levels else ()))


def guaranteed(report: Report) -> list[str]:
    """One sentence for each file and wanted precision: its threshold, and what it came to on test images."""
    return [f"{label}: {sentence_of(one)}" for m, label in labelled(report) for one in m.guaranteed]


def sentence_of(one: GuaranteedThreshold) -> str:
    """What a wanted precision came to, as a sentence without its full stop."""
    wanted = numbers.percent(one.precision)
    if one.threshold is None or one.calibration is None:
        return (
            f"no threshold is shown to be right on {wanted} of what it takes, with "
            f"{one.calibration_images:,} calibration images (it must take {one.fewest_taken:,} of them even "
            "if all are right)"
        )
    text = (
        f"from confidence {one.threshold:g} on, at least {wanted} of the answers are right, with "
        f"{one.level:.0%} over {one.calibration_images:,} calibration images; it takes "
        f"{numbers.percent(one.calibration.coverage.value)} of them"
    )
    if one.test is None:
        return text
    if one.test.precision is None:
        return f"{text}; on test images it takes none"
    missed = " (below the promise)" if one.test.precision.high < one.precision else ""
    return (
        f"{text}, and {numbers.percent(one.test.coverage.value)} of the test images, of which "
        f"{numbers.estimate(one.test.precision, 'share')} are right{missed}"
    )


def head(rows: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    """Two columns for each threshold."""
    return tuple(text for row in rows for text in (f"taken at {row.threshold:g}", "right of these"))


def cells(rows: Sequence[AtThreshold | ThresholdShift]) -> tuple[str, ...]:
    """Coverage and precision at each threshold."""
    return tuple(
        cell
        for row in rows
        for cell in (
            numbers.estimate(row.coverage, "share"),
            "takes none" if row.precision is None else numbers.estimate(row.precision, "share"),
        )
    )


def curve(report: Report) -> Figure | None:
    """Precision against coverage of the shown file, the teacher and fp32; the thresholds are marked."""
    m = headline.headline(report.measurements, report.recommendation)
    points = {curve.measurement: curve.points for curve in report.coverage}
    names = {id(m): label for m, label in labelled(report)}
    if m is None or m.quality is None or names[id(m)] not in points:
        return None
    peers = [headline.reference_of(m, report.measurements, model=model) for model in ("teacher", "student")]
    kinds: tuple[figures.Kind, ...] = ("second", "third")
    lines = [_line(names[id(m)], points[names[id(m)]], "first", banded=True)]
    for peer, kind in zip(peers, kinds, strict=True):
        if peer is not None and names[id(peer)] in points:
            lines.append(_line(names[id(peer)], points[names[id(peer)]], kind))
    dots = [
        figures.Dot(at.coverage.value, at.precision.value, f"≥ {at.threshold:g}", sentence_at(at))
        for at in m.quality.thresholds
        if at.precision is not None
    ]
    lowest = min([y for line in lines for _, y in line.points] + [dot.y for dot in dots])
    svg = figures.curves(
        lines,
        x=figures.shares("images taken"),
        y=figures.shares("right of these", low=max(lowest - 0.02, 0.0), high=1.0),
        title=f"Precision against coverage of {names[id(m)]}",
        description="; ".join(sentence_at(at) for at in m.quality.thresholds) + ".",
        dots=dots,
        is_wide=True,
    )
    caption = (
        "Each threshold takes some of the images, and some of these are right. Dots: the thresholds of the "
        "recipe; band: bounds."
    )
    return Figure(caption, Markup(svg))


def sentence_at(at: AtThreshold) -> str:
    """What a threshold takes, and how much of that is right."""
    right = "none" if at.precision is None else numbers.estimate(at.precision, "share")
    return f"from {at.threshold:g} on, {numbers.percent(at.coverage.value)} are taken, {right} of these right"


def _line(
    name: str, points: Sequence[AtThreshold], kind: figures.Kind, *, banded: bool = False
) -> figures.Line:
    known = [(at.coverage.value, at.precision) for at in points if at.precision is not None]
    band = tuple((x, y.low, y.high) for x, y in known) if banded else ()
    return figures.Line(name, tuple((x, y.value) for x, y in known), kind, band)


def _context(report: Report) -> Context | None:
    table = thresholds(report)
    promised = guaranteed(report)
    if not table.lines and not promised:
        return None
    drawn = curve(report)
    return {"thresholds": table, "figures": [drawn] if drawn else [], "guaranteed": promised}


THRESHOLDS = Section("thresholds", "Thresholds and coverage", packaged("thresholds"), _context)
