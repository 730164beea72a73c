"""The hypotheses of DESIGN.md: each one's figure, and what its interval says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cells import TEACHERS
from intervals_over_runs import PRIMARY, SHOWN, Interval, over_seeds, over_teachers, partial, z_scores
from results import STANDARDISED, Results, Row, nll_own, top1

RAW, CALIBRATED, FIXED = "raw", "calibrated", "T = 1.5"


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis: its figure where all runs are there, and sentences for each side of zero.

    Attributes:
        name: as in DESIGN.md.
        figure: what is measured, in words.
        interval: of results; None where a run is missing.
        below: the conclusion where the interval lies below zero.
        around: where it contains zero.
        above: where it lies above zero.
        unit: of the figure: points of top-1 (a share), a correlation, or nats.
    """

    name: str
    figure: str
    interval: Callable[[Results], Interval | None]
    below: str
    around: str
    above: str
    unit: str = "points"

    def conclusion(self, interval: Interval | None) -> str:
        """What the interval says."""
        if interval is None:
            return "not concluded: runs are missing"
        return (self.around, self.above, self.below)[interval.side]


def accuracies(results: Results) -> np.ndarray | None:
    """[teachers, students]: top-1 of raw teachers' students."""
    return results.over_teachers(RAW, top1)


def of_teachers(results: Results, figure: str) -> np.ndarray:
    """[teachers]: a test figure of each teacher as it learnt."""
    return np.array([results.teachers[name][figure] for name in TEACHERS])


def primary_correlation(results: Results, level: float = PRIMARY) -> Interval | None:
    """P1: of student top-1 with teacher ACE, given teacher top-1."""
    students = accuracies(results)
    if students is None:
        return None
    samples = (of_teachers(results, "ace_classwise"), z_scores(students), of_teachers(results, "top1"))
    return over_teachers(partial, *samples, level=level)


def paired(
    first: tuple[str, str], second: tuple[str, str], figure: Callable[[Row], float], level: float = SHOWN
) -> Callable[[Results], Interval | None]:
    """The mean difference of headline students, first less second; each is a cell and what its teacher is."""

    def interval(results: Results) -> Interval | None:
        values = results.differences(first, second, figure)
        return None if values is None else over_seeds(values, level)

    return interval


def by_loss(
    loss: str, figure: Callable[[Row], float] = top1, how: str = CALIBRATED, level: float = SHOWN
) -> Callable[[Results], Interval | None]:
    """A loss' students of calibrated teachers less those of raw ones."""
    return paired((loss, how), (loss, RAW), figure, level)


HYPOTHESES: Mapping[str, Hypothesis] = {
    each.name: each
    for each in (
        Hypothesis(
            "N",
            "top-1, calibrated less raw, loss `kd` on standardised logits",
            by_loss(STANDARDISED),
            "the apparatus is wrong: nothing else here counts",
            "holds: where a temperature cancels, calibrating changes nothing",
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
        ),
        Hypothesis(
            "H2",
            "P2: top-1, calibrated less raw, loss `kd`",
            by_loss("kd", level=PRIMARY),
            "refuted: calibrating the teacher costs accuracy",
            "not shown: calibrating the teacher does not certainly change accuracy at this scale",
            "stands: the calibrated teacher has the better students",
        ),
        Hypothesis(
            "H3",
            "top-1, (calibrated, KD temperature 4) less (raw, KD temperature 4 T)",
            paired(("kd", CALIBRATED), ("moved tau", RAW), top1),
            "refuted: moving the KD temperature does better",
            "not shown: calibrating cannot be told from moving the KD temperature (rival R1 stays)",
            "stands: calibrating does better than moving the KD temperature (rival R1 falls)",
        ),
        Hypothesis(
            "H4",
            "NLL after each student's own temperature, calibrated less raw",
            by_loss("kd", nll_own),
            "stands: students of the calibrated teacher are better, even after a temperature of their own",
            "not shown: a temperature on the student does as much (rival R2 stays)",
            "refuted: after a temperature of their own, raw teachers' students are better",
            unit="nats",
        ),
    )
}
