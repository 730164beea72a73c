"""Rows of a result file by what they are, and which of a cell's runs are missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cells
import numpy as np
from cells import HEADLINE, LOSSES, STUDENTS, TEACHERS, Scale
from study import Wanted

Row = Mapping[str, Any]
STANDARDISED = "kd standardised"
PAIRS = [(teacher, student) for teacher in HEADLINE for student in STUDENTS]
OTHER_LOSSES = tuple(loss for loss in LOSSES if loss not in ("kd", STANDARDISED))


@dataclass(frozen=True)
class Results:
    """The runs of one machine's kind.

    Attributes:
        rows: by name of run.
        scale: how much was trained, which also says what runs there are.
        others: names of rows that are left out, as their recipe is not that of the study.
    """

    rows: Mapping[str, Row]
    scale: Scale
    others: Sequence[str] = ()

    @classmethod
    def read(cls, path: Path, kind: str | None = None) -> Results:
        """The results of a file; those of cpu.json and cuda.json are of the kind that is its name."""
        rows = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return cls(rows, Scale.of(kind or path.stem, None)).of_the_design()

    def of_the_design(self) -> Results:
        """Only the rows whose recipe is that of the study now."""
        digests = {run.name: run.digest for runs in self.cells().values() for run in runs}
        others = [name for name, row in self.rows.items() if row["recipe_sha256"] != digests.get(name)]
        return replace(
            self, rows={name: row for name, row in self.rows.items() if name not in others}, others=others
        )

    @cached_property
    def by_facts(self) -> Mapping[tuple[str, str, str, str, int], Row]:
        """Rows by cell, teacher, student, what the teacher is, and seed."""
        return {
            (row["cell"], row["teacher"], row["student"], str(row["teacher_is"]), row["seed"]): row
            for row in self.rows.values()
        }

    def row(self, cell: str, teacher: str, student: str, how: object, seed: int | None = None) -> Row | None:
        """One row; without a seed that of the first."""
        return self.by_facts.get((cell, teacher, student, str(how), seed or self.scale.seeds[0]))

    @cached_property
    def teachers(self) -> Mapping[str, Mapping[str, Any]]:
        """Each teacher's figures, as it learnt: those of the correlation's raw row where it is there."""
        first = sorted(self.rows.values(), key=lambda row: (row["cell"], row["teacher_is"]) != ("kd", "raw"))
        figures: dict[str, Mapping[str, Any]] = {}
        for row in first:
            figures.setdefault(row["teacher"], row["teacher_figures"])
        return figures

    def cells(self) -> dict[str, list[Wanted]]:
        """Every cell's runs, in the design's order; without temperatures the moved ones have names alone."""
        fitted = {name: self.teachers.get(name, {}).get("temperature", 1.0) for name in HEADLINE}
        return {
            "No teacher": list(cells.without_teacher(self.scale)),
            "Headline, kd and its control": list(cells.headline(self.scale, "kd", STANDARDISED)),
            "Correlation": list(cells.correlation(self.scale)),
            "Moved KD temperature (R1)": list(cells.moved_tau(self.scale, fitted)),
            "Headline, other losses": list(cells.headline(self.scale, *OTHER_LOSSES)),
            "Sweep of the teacher's temperature": list(cells.sweep(self.scale)),
        }

    def missing(self, runs: Iterable[Wanted]) -> int:
        """How many runs of a cell are not there."""
        return sum(run.name not in self.rows for run in runs)

    def differences(
        self,
        first: tuple[str, object],
        second: tuple[str, object],
        figure: Callable[[Row], float],
    ) -> np.ndarray | None:
        """[teachers x students, seeds]: a figure of the headline's students, first less second.

        Args:
            first: cell and what the teacher is.
            second: likewise.
            figure: of a row.

        Returns:
            None where a run is missing.
        """
        blocks = [self.of_pair(pair, first, second, figure) for pair in PAIRS]
        return None if any(block is None for block in blocks) else np.array(blocks)

    def of_pair(
        self,
        pair: tuple[str, str],
        first: tuple[str, object],
        second: tuple[str, object],
        figure: Callable[[Row], float],
    ) -> np.ndarray | None:
        """[seeds]: the same of one teacher and student; None where a run is missing."""
        both = [
            [self.row(cell, *pair, how, seed) for cell, how in (first, second)] for seed in self.scale.seeds
        ]
        rows = [row for line in both for row in line if row is not None]
        if len(rows) < 2 * len(both):
            return None
        _check_one_training([row["teacher_figures"] for row in rows], pair[0])
        return np.array(
            [figure(one) - figure(other) for one, other in zip(rows[::2], rows[1::2], strict=True)]
        )

    def over_teachers(self, how: str, figure: Callable[[Row], float]) -> np.ndarray | None:
        """[teachers, students]: a figure of the correlation's students; None where a run is missing."""
        rows = [[self.row("kd", teacher, student, how) for student in STUDENTS] for teacher in TEACHERS]
        if any(row is None for line in rows for row in line):
            return None
        for teacher, line in zip(TEACHERS, rows, strict=True):
            figures = [row["teacher_figures"] for row in line if row is not None]
            _check_one_training([self.teachers[teacher], *figures], teacher)
        return np.array([[figure(row) for row in line if row is not None] for line in rows])


def _check_one_training(figures: Sequence[Mapping[str, Any]], teacher: str) -> None:
    """Refuse to compare students of two trainings of one teacher.

    Rows of one training differ by the rounding of a calibration that was undone.
    """
    if not np.allclose([each["nll"] for each in figures], figures[0]["nll"], rtol=1e-6, atol=0):
        raise ValueError(
            f"rows to compare are of two trainings of {teacher}: remove those of one and run them again"
        )


def top1(row: Row) -> float:
    """A student's top-1 on test images."""
    return float(row["student_figures"]["top1"])


def nll(row: Row) -> float:
    """A student's NLL on test images, as it learnt."""
    return float(row["student_figures"]["nll"])


def nll_own(row: Row) -> float:
    """A student's NLL after its own temperature."""
    return float(row["student_figures"]["own_temperature"]["nll"])


def ece(row: Row) -> float:
    """A student's ECE on test images, as it learnt."""
    return float(row["student_figures"]["ece"])


def ece_own(row: Row) -> float:
    """A student's ECE after its own temperature."""
    return float(row["student_figures"]["own_temperature"]["ece"])


def ace(row: Row) -> float:
    """A student's ACE by class on test images, as it learnt."""
    return float(row["student_figures"]["ace_classwise"])


def corrupted(row: Row, figure: str = "nll_own_temperature") -> float:
    """A student's mean figure over all corruptions of some test images."""
    return float(np.mean([each[figure] for each in row["corrupted"]]))


def mean_over_seeds(
    results: Results, facts: tuple[str, str, str, str], figure: Callable[[Row], float]
) -> float | None:
    """A figure's mean over seeds; None where a run is missing.

    Args:
        results: of one machine's kind.
        facts: cell, teacher, student, what the teacher is.
        figure: of a row.
    """
    rows = [results.row(*facts, seed) for seed in results.scale.seeds]
    if any(row is None for row in rows):
        return None
    return float(np.mean([figure(row) for row in rows if row is not None]))
