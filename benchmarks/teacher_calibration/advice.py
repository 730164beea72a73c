"""What the results say to somebody who distils a student: defaults, each with the interval behind it."""

from __future__ import annotations

from cells import HEADLINE, LOSSES, TEACHERS
from hypotheses import CALIBRATED, FIXED, conclusions, paired
from intervals_over_runs import SHOWN, Interval
from markdown import shown, table
from results import STANDARDISED, Results, top1

CHOICES: dict[str, tuple[str, str, str, str]] = {
    "H2": (
        "calibrate the teacher",
        "yes: its students are more accurate",
        "no difference shown: it costs seconds, so do it if the teacher's own confidences matter to you",
        "no: its students are less accurate",
    ),
    "H3": (
        "move the KD temperature instead",
        "no: calibrating does better",
        "no difference shown: either will do",
        "yes: it does better",
    ),
    "H4": (
        "a temperature for the student alone",
        "enough: a calibrated teacher makes the student's NLL no better",
        "enough: no difference shown",
        "not enough: a calibrated teacher's student stays better",
    ),
}
"""By hypothesis: the choice, and what to do where its figure lies above zero, contains it, lies below."""

ON_ACCURACY = ("not shown to differ in accuracy from", "more accurate than", "less accurate than")
"""Students of calibrated teachers beside those of raw ones, by the side of H2's interval."""


def advice(results: Results) -> str:
    """Defaults, each as soon as its runs and those of the negative control are there."""
    title = "### What follows for users\n\n"
    concluded = {each.name: (each, interval) for each, interval, _ in conclusions(results)}
    losses = [loss for loss in LOSSES if loss not in ("kd", STANDARDISED)]
    rule = paired(("kd", FIXED), ("kd", CALIBRATED), top1)(results, SHOWN)
    less = {loss: paired((loss, CALIBRATED), ("kd", CALIBRATED), top1)(results, SHOWN) for loss in losses}
    control = concluded["N"][1]
    if control is None:
        return title + "Not concluded: runs are missing.\n"
    if control.side:
        return title + "Nothing: the control N failed.\n"
    rows = []
    for name, (choice, above, around, below) in CHOICES.items():
        each, interval = concluded[name]
        rows.append((choice, _by_side(interval, above, around, below), shown(interval, each.unit)))
    rows.append(
        (
            "T = 1.5 instead of that of least NLL",
            _by_side(rule, "yes", "no difference shown: T by NLL needs no choice", "no"),
            shown(rule),
        )
    )
    for loss, interval in less.items():
        text = _by_side(interval, "more accurate here", "no difference shown", "less accurate here")
        rows.append((f"`{loss}` instead of `kd`, calibrated teacher", text, shown(interval)))
    return title + table(("choice", "answer", "figure (points of top-1; H4 in nats)"), rows)


def in_short(results: Results) -> tuple[str, str] | None:
    """The sentences of README and of `compress`; None before the runs of H2 are there or where N fails."""
    intervals = {each.name: interval for each, interval, _ in conclusions(results)}
    control, gain = intervals["N"], intervals["H2"]
    rule = paired(("kd", FIXED), ("kd", CALIBRATED), top1)(results, SHOWN)
    if control is None or control.side or gain is None or rule is None:
        return None
    fitted = " and ".join(f"{results.teachers[name]['temperature']:.2f}" for name in HEADLINE)
    students = (
        f"students of {len(HEADLINE)} calibrated teachers (T = {fitted}) by kd are {ON_ACCURACY[gain.side]} "
        "those of the same teachers raw"
    )
    tested = _by_side(intervals["H1"], "refuted", "not seen", "seen", missing="not yet tested")
    return (
        f"{students} ({shown(gain)} points of top-1); T = 1.5 in place of the temperature of least NLL "
        f"changes it by {shown(rule)}. That a better calibrated teacher has better students than its "
        f"accuracy explains is {tested} over {len(TEACHERS)} teachers.",
        students,
    )


def _by_side(
    interval: Interval | None, above: str, around: str, below: str, missing: str = "not concluded"
) -> str:
    if interval is None:
        return missing
    if not interval.is_computable:
        return "not computable"
    return (around, above, below)[interval.side]
