"""The smoke variant of a recipe: the same plan with tiny numbers, to see every stage run beforehand."""

from __future__ import annotations

from calkd_edge.recipe import Choice, EvaluateSection, Recipe, ScheduleSection


def smoke(recipe: Recipe) -> Recipe:
    """The same plan with tiny numbers: every stage runs, nothing it measures means anything."""
    held_out = min(recipe.data.calibration_images, 120)
    few = {"train_images": 256, "calibration_images": held_out, "test_images": 128}
    one_step = {"epochs": 1, "schedule": ScheduleSection(name="constant")}
    teacher = recipe.teacher_training
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-smoke",
            "data": recipe.data.model_copy(update=few),
            "teacher_training": teacher and teacher.model_copy(update=one_step),
            "distill": recipe.distill.model_copy(
                update={**one_step, "soft_labels": recipe.distill.soft_labels.model_copy(update={"views": 1})}
            ),
            "precisions": tuple(_smoke_ranges(precision) for precision in recipe.precisions),
            "evaluate": EvaluateSection(images=min(recipe.evaluate.images or 128, 128)),
            "benchmark": recipe.benchmark.model_copy(
                update={"profile": "quick", "min_runs": 40, "min_seconds": 0.2}
            ),
        }
    )


def _smoke_ranges(precision: Choice) -> Choice:
    return Choice(**{**precision.model_dump(), "images": 64}) if "images" in precision.settings else precision
