"""What a plan is: every stage in order, and which of them make up a row of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from calkd_edge.engine.stage import Stage
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.records import Component

Model = Literal["teacher", "student", "control", "baseline"]


@dataclass(frozen=True)
class PlannedTraining:
    """A stage that trains a network, and what its duration depends on."""

    stage: Stage
    section: TrainingSection
    model: Component


@dataclass(frozen=True)
class MeasuredRow:
    """One file on one device, and the stages that measure it."""

    model: Model
    precision: str
    device: DeviceSection
    raw: Stage
    calibrate: Stage
    final: Stage
    evaluate: Stage
    benchmark: Stage
    corrupted: Stage | None = None
    compare: Stage | None = None
    unknown: Stage | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order of work; `calibrate` depends on the calibration device's raw predictions."""
        others = [
            part
            for stage in (self.corrupted, self.unknown)
            if stage is not None
            for part in (*stage.inputs.values(), stage)
        ]
        simulated = (self.evaluate.inputs["simulated"],) if "simulated" in self.evaluate.inputs else ()
        compared = () if self.compare is None else (self.compare,)
        return (
            self.raw,
            self.calibrate,
            *compared,
            self.final,
            *simulated,
            self.evaluate,
            *others,
            self.benchmark,
        )


@dataclass(frozen=True)
class Plan:
    """Every stage in order, and which of them make up the rows of the report.

    Attributes:
        compared: students that are trained for comparison and never released.
    """

    checked: CheckedRecipe
    stages: tuple[Stage, ...]
    rows: tuple[MeasuredRow, ...]
    trainings: tuple[PlannedTraining, ...]
    data: Stage
    teacher: Stage
    student: Stage
    compared: Mapping[Model, Stage]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.checked.recipe.name


def in_order(stages: list[Stage]) -> tuple[Stage, ...]:
    """Each stage once, after every stage it depends on."""
    ordered: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        if stage.fingerprint not in ordered:
            for source in stage.inputs.values():
                add(source)
            ordered[stage.fingerprint] = stage

    for stage in stages:
        add(stage)
    return tuple(ordered.values())
