"""The smoke variant of a recipe: the same plan with tiny numbers, to run every stage once beforehand."""

from __future__ import annotations

from calkd_edge.recipe.schema import Recipe, UnknownSection
from calkd_edge.recipe.training import Choice, ScheduleSection, TrainingSection

LARGEST_RATE = 0.002
"""A few steps at the recipe's rate, without its warm-up, can make the logits of a deep network overflow."""


def smoke_recipe(recipe: Recipe, *, images: int | None = None) -> Recipe:
    """The same plan with tiny numbers: every stage runs, and its measurements mean nothing.

    Args:
        recipe: to rehearse.
        images: of the data set, where they are known; of few images, the test and calibration splits take a
            fifth each.
    """
    share = 128 if images is None else max(2, images // 5)
    held_out = min(recipe.data.calibration_images, 120, share)
    few = {"train_images": 256, "calibration_images": held_out, "test_images": min(128, share)}
    teacher, distill = recipe.teacher_training, recipe.distill
    single_view = distill.soft_labels.model_copy(update={"views": 1})
    brief = {"profile": "quick", "min_runs": 40, "min_seconds": 0.2}
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-smoke",
            "data": recipe.data.model_copy(update=few),
            "teacher_training": teacher and teacher.model_copy(update=_single_epoch(teacher)),
            "distill": distill.model_copy(update={**_single_epoch(distill), "soft_labels": single_view}),
            "precisions": tuple(_smoke_precision(precision) for precision in recipe.precisions),
            "evaluate": recipe.evaluate.model_copy(
                update={
                    "images": min(recipe.evaluate.images or 128, 128),
                    "corrupted_images": 32,
                    "unknown": _few(recipe.evaluate.unknown),
                }
            ),
            "benchmark": recipe.benchmark.model_copy(update=brief),
        }
    )


def _single_epoch(section: TrainingSection) -> dict[str, object]:
    gentle = section.optimizer.model_copy(update={"lr": min(section.optimizer.lr, LARGEST_RATE)})
    schedule = ScheduleSection(name="constant")
    return {"epochs": 1, "schedule": schedule, "optimizer": gentle}


def _smoke_precision(precision: Choice) -> Choice:
    brief = {"images": 64, "epochs": 1}
    return Choice(
        **{**precision.model_dump(), **{key: brief[key] for key in brief if key in precision.settings}}
    )


def _few(unknown: UnknownSection | None) -> UnknownSection | None:
    return None if unknown is None else unknown.model_copy(update={"images": min(unknown.images, 32)})
