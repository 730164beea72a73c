"""Whether the networks of a recipe can be built, start from their files, and be trained on this machine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.data_checks import outline_of
from calkd_edge.pipeline.planned import Plan, PlannedTraining
from calkd_edge.recipe.training import ModelSection
from calkd_edge.records import Component

_UNKNOWN_CLASSES = tuple(map(str, range(10)))
"""Stand for the classes of a data set that knows them only when it is opened."""


def check_networks(plan: Plan, accelerator: str, processes: int, reused: Collection[str]) -> None:
    """Build the teacher and the student, and fit the files that they start from.

    Args:
        plan: of the run.
        accelerator: auto, cpu or cuda.
        processes: of a training on this machine.
        reused: fingerprints of the stages that are published; their networks are known to work.

    Raises:
        CalkdError: a network cannot be built for these images, a file does not fit it, weights are not
            reachable, or the accelerator lacks what a training asks for.
    """
    recipe, checked = plan.checked.recipe, plan.checked
    sections = {"teacher": (recipe.teacher, checked.teacher), "student": (recipe.student, checked.student)}
    for stage, (where, (section, component)) in zip(
        (plan.teacher, plan.student), sections.items(), strict=True
    ):
        if stage.fingerprint not in reused:
            _check_network(checked, section, component, where)
    trained = [training for training in plan.trainings if training.stage.fingerprint not in reused]
    if trained:
        # Imported here: a run whose networks are trained needs none of it.
        from calkd_edge.training.accelerator import (
            check_autocast,
            check_processes,
            chosen_accelerator,
        )

        chosen = chosen_accelerator(accelerator)
        check_processes(processes, chosen)
        for training in trained:
            key = "teacher_training" if training.stage is plan.teacher else "distill"
            check_autocast(training.section.autocast, chosen, f"{checked.where}: {key}.autocast")
            _check_memory(checked, training, chosen, f"{checked.where}: {key}.images_per_step")


def _check_memory(
    checked: CheckedRecipe, training: PlannedTraining, accelerator: Literal["cpu", "cuda"], where: str
) -> None:
    """Refuse steps that surely do not fit into the free memory."""
    from calkd_edge.training.step_memory import CERTAIN_SHARE, free_bytes

    images = training.section.images_per_step
    needed, free = _step_bytes(checked, training.model, images, where), free_bytes(accelerator)
    if needed * CERTAIN_SHARE > free:
        raise EnvironmentProblem(
            f"{where}: steps of {images:,} images need about {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free",
            remedy=f"Set it to {max(1, int(images * free / needed / 1.2)):,} or fewer, or shrink the images.",
        )


def _step_bytes(checked: CheckedRecipe, component: Component, images: int, where: str) -> int:
    """Memory that a step of so many images needs; 0 where torch cannot tell without computing.

    Raises:
        RecipeError: the network cannot take the data's images.
    """
    from calkd_edge.models import MODELS
    from calkd_edge.models.image_model import ImageModel
    from calkd_edge.models.image_sizes import refusing_image_size
    from calkd_edge.models.without_weights import without_weights
    from calkd_edge.training.step_memory import training_bytes

    _, shape = checked.dataset.size()

    def network() -> ImageModel:
        backbone = MODELS.load(component.name)(10, shape, **component.settings)
        return ImageModel(backbone, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    name = str(component.settings.get("architecture", component.name))
    try:
        with refusing_image_size(name, shape, f"{where}: "):
            return training_bytes(without_weights(network), shape, images)
    except NotImplementedError:
        return 0


def _check_network(checked: CheckedRecipe, section: ModelSection, component: Component, where: str) -> None:
    outline = outline_of(checked)
    classes = _UNKNOWN_CLASSES if outline is None else outline.classes
    _, shape = checked.dataset.size()
    if where == "teacher" and checked.teacher_is_file:
        from calkd_edge.stages.onnx_teacher import adopted_teacher

        if outline is not None:
            adopted_teacher(component, Path(str(section.weights)), classes, shape)
        return
    from calkd_edge.stages.start import check_start

    if outline is not None or (section.weights is None and section.pretrained in (None, True)):
        check_start(section, component, classes, shape, where=f"{checked.where}: {where}")
    _step_bytes(checked, component, 1, f"{checked.where}: {where}")
