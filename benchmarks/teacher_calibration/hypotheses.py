"""The hypotheses of DESIGN.md: each one's figure, and what its interval says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from cells import TEACHERS
from intervals_over_runs import PRIMARY, SHOWN, Interval, over_seeds, over_teachers, partial, z_scores
from results import STANDARDISED, Results, Row, nll_own, top1

RAW, CALIBRATED, FIXED = "raw", "calibrated", "T = 1.5"
Measure = Callable[[Results, float], Interval | None]
"""(results, level) -> a figure's interval at that level; None where a run is missing."""


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis: its figure where all runs are there, and sentences for each side of zero.

    Attributes:
        name: as in DESIGN.md.
        figure: what is measured, in words.
        interval: of the figure.
        below: the conclusion where the interval lies below zero.
        around: where it contains zero.
        above: where it lies above zero.
        unit: of the figure: points of top-1 (a share), a correlation, or nats.
        level: at which it is concluded.
    """

    name: str
    figure: str
    interval: Measure
    below: str
    around: str
    above: str
    unit: str = "points"
    level: float = SHOWN

    def conclusion(self, interval: Interval | None) -> str:
        """What the interval says."""
        if interval is None:
            return "not concluded: runs are missing"
        if not interval.is_computable:
            return "not concluded: a figure does not vary"
        return (self.around, self.above, self.below)[interval.side]


def accuracies(results: Results) -> np.ndarray | None:
    """[teachers, students]: top-1 of raw teachers' students."""
    return results.over_teachers(RAW, top1)


def of_teachers(results: Results, figure: str, how: str = RAW) -> np.ndarray:
    """[teachers]: a test figure of each teacher, as it learnt or calibrated by its own temperature."""
    figures = [results.teachers[name] for name in TEACHERS]
    return np.array(
        [(each | each["own_temperature"] if how == CALIBRATED else each)[figure] for each in figures]
    )


def primary_correlation(results: Results, level: float) -> Interval | None:
    """P1: of student top-1 with teacher ACE, given teacher top-1."""
    students = accuracies(results)
    if students is None:
        return None
    samples = (of_teachers(results, "ace_classwise"), z_scores(students), of_teachers(results, "top1"))
    return over_teachers(partial, *samples, level=level)


def paired(first: tuple[str, str], second: tuple[str, str], figure: Callable[[Row], float]) -> Measure:
    """The mean difference of headline students, first less second; each is a cell and what its teacher is."""

    def interval(results: Results, level: float = SHOWN) -> Interval | None:
        values = results.differences(first, second, figure)
        return None if values is None else over_seeds(values, level)

    return interval


def by_loss(loss: str, figure: Callable[[Row], float] = top1, how: str = CALIBRATED) -> Measure:
    """A loss' students of calibrated teachers less those of raw ones."""
    return paired((loss, how), (loss, RAW), figure)


HYPOTHESES: Mapping[str, Hypothesis] = {
    each.name: each
    for each in (
        Hypothesis(
            "N",
            "top-1, calibrated less raw, loss `kd` on standardised logits",
            by_loss(STANDARDISED),
            "the apparatus is wrong: nothing else here counts",
            "holds: no difference seen where a temperature cancels",
            "the apparatus is wrong: nothing else here counts",
        ),
        Hypothesis(
            "H1",
            "P1: partial correlation of student top-1 with teacher ACE, given teacher top-1",
            primary_correlation,
            "stands: a better calibrated teacher has better students than its accuracy explains",
            "not shown: teacher ACE says nothing certain about students beyond the teacher's accuracy",
            "refuted: at equal accuracy, worse calibrated teachers have the better students",
            unit="",
            level=PRIMARY,
        ),
        Hypothesis(
            "H2",
            "P2: top-1, calibrated less raw, loss `kd`",
            by_loss("kd"),
            "refuted: the students of these teachers, calibrated, are less accurate",
            "not shown: no certain difference in accuracy for these teachers at this scale",
            "stands: the students of these teachers, calibrated, are more accurate",
            level=PRIMARY,
        ),
        Hypothesis(
            "H3",
            "top-1, (calibrated, KD temperature 4) less (raw, KD temperature 4 T)",
            paired(("kd", CALIBRATED), ("moved tau", RAW), top1),
            "refuted: at equal loss weights, moving the KD temperature does better",
            "not shown: calibrating cannot be told from moving the KD temperature (rival R1 stays)",
            "stands: at equal loss weights, calibrating does better than moving it (rival R1 falls)",
        ),
        Hypothesis(
            "H4",
            "NLL after each student's own temperature, calibrated less raw",
            by_loss("kd", nll_own),
            "stands: students of the calibrated teacher are better, even after a temperature of their own",
            "not shown: no difference seen after a temperature on the student (rival R2 stays)",
            "refuted: after a temperature of their own, raw teachers' students are better",
            unit="nats",
        ),
    )
}


def conclusions(results: Results) -> Iterator[tuple[Hypothesis, Interval | None, str]]:
    """Each hypothesis, its figure and what follows; nothing follows where the negative control fails."""
    control = HYPOTHESES["N"].interval(results, SHOWN)
    for each in HYPOTHESES.values():
        interval = each.interval(results, each.level)
        follows = each.conclusion(interval)
        if each.name != "N" and interval is not None:
            if control is None:
                follows += "; the control N is not complete"
            elif control.side:
                follows = "not concluded: the control N failed"
        yield each, interval, follows
