"""Whether a teacher that was not trained here has its classes in the data's order, by its answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calkd_edge.data.prepared import Prepared
from calkd_edge.export.artifacts import CALIBRATION_PREDICTIONS
from calkd_edge.metrics.class_order import better_order
from calkd_edge.pipeline.planned import Plan
from calkd_edge.records import Predictions


def doubtful_order(plan: Plan, folders: Mapping[str, Path]) -> list[str]:
    """A sentence where another order of the teacher's classes would be right far more often.

    Args:
        plan: of the run.
        folders: published folder of each finished stage, by fingerprint.
    """
    if plan.checked.recipe.teacher.weights is None:
        return []
    answers = Predictions.load(folders[plan.rows[0].raw.fingerprint] / CALIBRATION_PREDICTIONS)
    better = better_order(
        answers.logits, answers.labels, Prepared.open(folders[plan.data.fingerprint]).classes
    )
    return (
        []
        if better is None
        else [f"the teacher may have its classes in another order than the data: {better}"]
    )
