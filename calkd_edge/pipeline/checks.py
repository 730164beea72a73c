"""A checked recipe: every name looked up, every setting checked by its registry, every default filled in.

In scope: names and settings, and combinations that no single section can see. Out of scope: running anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.fitted import fitted_kind
from calkd_edge.calibration.tables import TABLES, WHY_NOT_FOLDED
from calkd_edge.data import AUGMENTATIONS, DATASETS, MIXINGS
from calkd_edge.data.source import Dataset
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.export import TEACHER_FILES
from calkd_edge.files.paths import check_readable
from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Context, Loss, TeacherEffect
from calkd_edge.losses.objective import joined_effect
from calkd_edge.models import MODELS, pretrained
from calkd_edge.pipeline.assumptions import settled
from calkd_edge.pipeline.device_checks import check_devices
from calkd_edge.pipeline.taps import check_taps
from calkd_edge.pipeline.unknown_images import UnknownImages, check_labelled, unknown_images
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.recipe.schema import Recipe
from calkd_edge.recipe.training import Choice, ModelSection
from calkd_edge.records import Affine, AffineKind, Component, LossComponent
from calkd_edge.registry import Registry
from calkd_edge.release.gates.validation import check_gates
from calkd_edge.stages.params import TeacherMode

_A_TEMPERATURE = Affine(scale=(1 / 1.5,))
_BY_CLASS = Affine(scale=(0.5, 0.8), bias=(0.1, -0.1))
"""Calibrations that change something: examples for which losses say what they do to them."""


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe with the components that its names stand for.

    Attributes:
        recipe: as read.
        where: its file, for messages.
        dataset: not opened yet.
        data: the data set's component.
        augmentation: how training images are augmented.
        teacher: the teacher's model, or the kind of its file.
        student: the student's model.
        calibrator: the map that ships.
        teacher_mixing: how the teacher's training mixes images; None when it does not.
        distill_mixing: likewise of distillation.
        losses: the terms of the student's loss.
        precisions: of the student, in the recipe's order.
        compared: the other maps that are measured beside the calibrator.
        teacher_mode: whether the teacher's logits are stored, computed in every step, or not used.
        reason: why the teacher runs in every step; empty when it does not.
        loss_modules: the losses, built for no particular size.
        assumed: sentences on what was decided that the recipe left open.
        unknown: images of no class; None where the recipe names none.
    """

    recipe: Recipe
    where: str
    dataset: Dataset
    data: Component
    augmentation: Component
    teacher: Component
    student: Component
    calibrator: Component
    teacher_mixing: Component | None
    distill_mixing: Component | None
    losses: tuple[LossComponent, ...]
    precisions: tuple[Component, ...]
    compared: tuple[Component, ...]
    teacher_mode: TeacherMode
    reason: str
    loss_modules: tuple[Loss, ...]
    assumed: tuple[str, ...]
    unknown: UnknownImages | None

    def effect(self, affine: Affine | None = None) -> TeacherEffect:
        """What calibrating the teacher by `affine` does under these losses; by an example when None."""
        if affine is None:
            affine = _A_TEMPERATURE if self.calibrator_kind == "temperature" else _BY_CLASS
        return joined_effect(self.loss_modules, affine)

    @property
    def calibrator_kind(self) -> AffineKind | None:
        """The kind of map that the calibrator declares; None if it declares none."""
        return fitted_kind(CALIBRATORS.load(self.calibrator.name))

    @property
    def teacher_is_file(self) -> bool:
        """Whether the teacher is a file that another runtime runs, not a network of torch."""
        return self.teacher.name in TEACHER_FILES


def check(recipe: Recipe, where: str) -> CheckedRecipe:
    """Look every name up and check every setting.

    Raises:
        RecipeError: an unknown name, setting, or a combination that cannot work.
        EnvironmentProblem: a component needs a package that is not installed.
    """
    _check_roles(recipe, where)
    data = _component(DATASETS, recipe.data, f"{where}: data")
    root = None if recipe.data.root is None else Path(recipe.data.root)
    dataset: Dataset = DATASETS.load(data.name)(root, **data.settings)
    check_labelled(dataset, where)
    recipe, assumed = settled(recipe, dataset, where)
    teacher = _teacher_component(recipe.teacher, f"{where}: teacher")
    student = _component(MODELS, recipe.student, f"{where}: student")
    losses = _losses(recipe, where)
    precisions = tuple(
        _component(QUANTIZERS, precision, f"{where}: precisions[{index}]")
        for index, precision in enumerate(recipe.precisions)
    )
    check_devices(recipe, where)
    names = [precision.name for precision in precisions]
    check_gates(recipe.gates, precisions=names, devices=recipe.devices, where=where)
    _check_teacher_file(recipe, where)
    _check_weights(recipe.teacher, teacher, f"{where}: teacher")
    _check_weights(recipe.student, student, f"{where}: student")
    modules = tuple(_built(loss, f"{where}: distill.losses[{index}]") for index, loss in enumerate(losses))
    _check_losses(recipe, losses, modules, where)
    if any(module.teacher_taps for module in modules):
        check_taps(student, teacher, losses, dataset.size()[1], where=where)
    mode, reason = _teacher_mode(recipe, modules)
    distill_mixing = recipe.distill.mixing
    teacher_mixing = None if recipe.teacher_training is None else recipe.teacher_training.mixing
    return CheckedRecipe(
        recipe=recipe,
        where=where,
        dataset=dataset,
        data=data,
        augmentation=_component(AUGMENTATIONS, recipe.data.augmentation, f"{where}: data.augmentation"),
        teacher=teacher,
        student=student,
        calibrator=_component(CALIBRATORS, recipe.calibrator, f"{where}: calibrator"),
        teacher_mixing=_mixing(teacher_mixing, f"{where}: teacher_training.mixing"),
        distill_mixing=_mixing(distill_mixing, f"{where}: distill.mixing"),
        losses=losses,
        precisions=precisions,
        compared=_compared(recipe, where),
        teacher_mode=mode,
        reason=reason,
        loss_modules=modules,
        assumed=assumed,
        unknown=unknown_images(recipe, data, dataset, where),
    )


def _check_roles(recipe: Recipe, where: str) -> None:
    """Refuse a component in a role that it cannot have."""
    if recipe.student.name in TEACHER_FILES:
        raise RecipeError(
            f"{where}: student.name: a file ({recipe.student.name}) can teach, but it cannot be trained",
            remedy="Name a model: calkd-edge list models",
        )
    if recipe.calibrator.name in TABLES:
        raise RecipeError(
            f"{where}: calibrator.name: {recipe.calibrator.name} can be measured, but it cannot ship: "
            f"{WHY_NOT_FOLDED}",
            remedy=f"Write calibrate: {{compare: [{{name: {recipe.calibrator.name}}}]}} to measure it.",
        )


def _component(registry: Registry, choice: Choice, where: str) -> Component:
    section_keys = type(choice).model_fields
    settings = registry.settings(choice.name, choice.settings, where=where, beside=section_keys)
    return Component(name=choice.name, settings=settings)


def _mixing(choice: Choice | None, where: str) -> Component | None:
    return None if choice is None else _component(MIXINGS, choice, where)


def _teacher_component(teacher: ModelSection, where: str) -> Component:
    if teacher.name not in TEACHER_FILES:
        return _component(MODELS, teacher, where)
    normalisation = {"mean": teacher.mean, "std": teacher.std} if teacher.mean is not None else {}
    choice = Choice(name=teacher.name, **teacher.settings, **normalisation)
    return _component(TEACHER_FILES, choice, where)


def _losses(recipe: Recipe, where: str) -> tuple[LossComponent, ...]:
    components = []
    for index, section in enumerate(recipe.distill.losses):
        loss = _component(LOSSES, section, f"{where}: distill.losses[{index}]")
        components.append(LossComponent(name=loss.name, settings=loss.settings, weight=section.weight))
    return tuple(components)


def _compared(recipe: Recipe, where: str) -> tuple[Component, ...]:
    return tuple(
        _compared_component(choice, f"{where}: calibrate.compare[{index}]")
        for index, choice in enumerate(recipe.calibrate.compare)
    )


def _compared_component(choice: Choice, where: str) -> Component:
    known = [*CALIBRATORS.names(), *TABLES.names()]
    if choice.name not in known:
        raise RecipeError(
            f"{where}.name: no map is named '{choice.name}'",
            remedy=f"{did_you_mean(choice.name, known)}Valid: {', '.join(sorted(known))}.",
        )
    return _component(TABLES if choice.name in TABLES else CALIBRATORS, choice, where)


def _built(loss: LossComponent, where: str) -> Loss:
    """A loss of no particular size: enough to learn what it reads and what acts on it."""

    def shape(path: str) -> tuple[int, ...]:
        return (1, 1, 1)

    def module(path: str) -> nn.Module:
        return nn.Linear(1, 2)

    context = Context(2, 2, 1, shape, shape, module, module)
    try:
        built: Loss = LOSSES.load(loss.name)(context, **loss.settings)
    except RecipeError as refused:
        raise RecipeError(f"{where}: {refused}", remedy=refused.remedy) from refused
    return built


def _check_losses(
    recipe: Recipe, losses: Sequence[LossComponent], modules: Sequence[Loss], where: str
) -> None:
    """Refuse losses that this teacher or this mixing cannot serve."""
    featured = [loss.name for loss, module in zip(losses, modules, strict=True) if module.teacher_taps]
    if featured and recipe.teacher.name in TEACHER_FILES:
        raise RecipeError(
            f"{where}: distill.losses: {', '.join(featured)} reads the teacher's features, but a teacher in "
            f"a file ({recipe.teacher.name}) has logits only",
            remedy="Use losses of logits (kd, dkd, dist), or a teacher that torch runs.",
        )
    mixing = recipe.distill.mixing
    for loss, module in zip(losses, modules, strict=True):
        if mixing is not None and not module.takes_mixed:
            raise RecipeError(
                f"{where}: distill.mixing: {loss.name} keeps values of each training image, and "
                f"{mixing.name} makes images that are none of them",
                remedy="Remove distill.mixing, or use another loss.",
            )


def _teacher_mode(recipe: Recipe, losses: Sequence[Loss]) -> tuple[TeacherMode, str]:
    featured = [type(loss).__name__ for loss in losses if loss.teacher_taps]
    if featured:
        return "live", f"{', '.join(featured)} reads the teacher's features, which are not stored"
    if not any(loss.uses_teacher for loss in losses):
        return "none", ""
    if recipe.distill.mixing is not None:
        return "live", f"{recipe.distill.mixing.name} mixes images, so no view occurs twice"
    if recipe.distill.soft_labels.live:
        return "live", "distill.soft_labels.live is true"
    return "stored", ""


def _check_teacher_file(recipe: Recipe, where: str) -> None:
    weights, name = recipe.teacher.weights, recipe.teacher.name
    if name in TEACHER_FILES and weights is None:
        raise RecipeError(
            f"{where}: teacher.weights: this key is missing: the teacher '{name}' is a file",
            remedy="Add weights: FILE and trained_on:, and remove teacher_training and pretrained.",
        )
    if weights is not None and weights.endswith(".onnx") and name not in TEACHER_FILES:
        raise RecipeError(
            f"{where}: teacher.weights: {weights} is an ONNX file, but torch builds the model '{name}'",
            remedy="Set teacher.name: onnx.",
        )


def _check_weights(section: ModelSection, model: Component, where: str) -> None:
    """Refuse weights that are missing, that nobody publishes, or that have seen the calibration images."""
    for key, value in (("weights", section.weights), ("pretrained", section.pretrained)):
        if isinstance(value, str):
            if not Path(value).is_file():
                raise RecipeError(f"{where}.{key}: there is no file {value}", remedy="Correct the path.")
            check_readable(Path(value), f"{where}.{key}")
    if section.pretrained is True:
        pretrained.published(section.name, model.settings, where)
    if section.trained_on == "all_train":
        raise RecipeError(
            f"{where}.trained_on: this {where.rpartition(' ')[2]} has seen the images that calibration would "
            "use; a temperature fitted on memorised images is wrong",
            remedy="Train it on this recipe's train split alone (trained_on: train), or use other data.",
        )
