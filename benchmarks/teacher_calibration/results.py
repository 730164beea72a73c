"""Rows of a result file by what they are, and which of a cell's runs are missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cells
import numpy as np
from cells import HEADLINE, LOSSES, STUDENTS, TEACHERS, Scale
from study import Wanted

Row = Mapping[str, Any]
STANDARDISED = "kd standardised"
OTHER_LOSSES = tuple(loss for loss in LOSSES if loss not in ("kd", STANDARDISED))


@dataclass(frozen=True)
class Results:
    """The runs of one machine's kind.

    Attributes:
        rows: by name of run.
        scale: how much was trained, which also says what runs there are.
    """

    rows: Mapping[str, Row]
    scale: Scale

    @classmethod
    def read(cls, path: Path) -> Results:
        """The results of cpu.json or cuda.json."""
        return cls(json.loads(path.read_text(encoding="utf-8"))["runs"], Scale.of(path.stem, None))

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
        """Each teacher's figures, as it learnt, of those that are in any row with a teacher."""
        return {
            row["teacher"]: row["teacher_figures"] for row in self.rows.values() if row["cell"] != "labels"
        }

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
        blocks = []
        for teacher in HEADLINE:
            for student in STUDENTS:
                pairs = [
                    (
                        self.row(first[0], teacher, student, first[1], seed),
                        self.row(second[0], teacher, student, second[1], seed),
                    )
                    for seed in self.scale.seeds
                ]
                if any(one is None or other is None for one, other in pairs):
                    return None
                blocks.append([figure(one) - figure(other) for one, other in pairs])
        return np.array(blocks)

    def over_teachers(self, how: str, figure: Callable[[Row], float]) -> np.ndarray | None:
        """[teachers, students]: a figure of the correlation's students; None where a run is missing."""
        rows = [[self.row("kd", teacher, student, how) for student in STUDENTS] for teacher in TEACHERS]
        if any(row is None for line in rows for row in line):
            return None
        return np.array([[figure(row) for row in line if row is not None] for line in rows])


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


def nll_corrupted(row: Row) -> float:
    """A student's mean NLL over the corrupted test images."""
    return float(np.mean([each["nll"] for each in row["corrupted"]]))
