"""What stored soft labels allow: how many logits of a row are kept, and by which maps they are calibrated."""

from __future__ import annotations

from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.data_checks import outline_of
from calkd_edge.stages.top_logits import check_kind, check_top


def check_soft_labels(checked: CheckedRecipe) -> None:
    """Refuse truncated rows where they cannot serve the recipe.

    A calibrator that declares no kind is judged by the map that it fits, before the student trains.

    Raises:
        RecipeError: as many logits are kept as there are classes, or the calibrator fits a matrix.
    """
    top = checked.recipe.distill.soft_labels.top
    if top is None or checked.teacher_mode != "stored":
        return
    outline = outline_of(checked)
    if outline is not None:
        check_top(top, len(outline.classes), f"{checked.where}: distill.soft_labels.top")
    check_kind(checked.calibrator_kind, f"{checked.where}: calibrator: {checked.calibrator.name}")
