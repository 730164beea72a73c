"""A recipe whose names were looked up: every setting checked by its registry, every default filled in.

In scope: names and settings, and combinations that no single section can see. Out of scope: running anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from calkd_edge.agent.runtimes import RUNTIMES, known_options
from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.tables import TABLES, WHY_NOT_FOLDED
from calkd_edge.data import AUGMENTATIONS, DATASETS, MIXINGS
from calkd_edge.data.source import Dataset
from calkd_edge.devices.inventory import location_of
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean
from calkd_edge.export import TEACHER_FILES
from calkd_edge.export.converters import converter_of
from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Context, Loss, TeacherEffect
from calkd_edge.losses.objective import joined_effect
from calkd_edge.models import MODELS, pretrained
from calkd_edge.pipeline.taps import try_taps
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.recipe.schema import DeviceSection, Recipe
from calkd_edge.recipe.training import Choice, ModelSection
from calkd_edge.records import Affine
from calkd_edge.registry import Registry
from calkd_edge.release.gates import gates

TAKEN_OPTIONS = ("threads", "sha256")
"""Options of runtimes that the plan itself sets."""

TeacherMode = Literal["stored", "live", "none"]
_A_TEMPERATURE = Affine(scale=(1 / 1.5,))
_BY_CLASS = Affine(scale=(0.5, 0.8), bias=(0.1, -0.1))
"""Calibrations that change something, to ask losses whether they would feel one."""


@dataclass(frozen=True)
class Checked:
    """A recipe and what its names came to.

    Attributes:
        recipe: as read.
        where: its file, for messages.
        dataset: opened by nobody yet.
        named: {"name", "settings"} of teacher, student, calibrator, augmentation, data set and mixings, by
            section.
        losses: {"name", "weight", "settings"} of each term.
        precisions: {"name", "settings"} of each.
        compared: likewise of each other map that is measured beside the calibrator.
        teacher_mode: whether the teacher's answers are stored, asked live, or not used.
        reason: why the teacher runs live; empty when it does not.
        built: the losses, of no particular size.
    """

    recipe: Recipe
    where: str
    dataset: Dataset
    named: Mapping[str, dict[str, Any]]
    losses: tuple[dict[str, Any], ...]
    precisions: tuple[dict[str, Any], ...]
    compared: tuple[dict[str, Any], ...]
    teacher_mode: TeacherMode
    reason: str
    built: tuple[Loss, ...]

    def effect(self, affine: Affine | None = None) -> TeacherEffect:
        """What calibrating the teacher by `affine` does under these losses; by an example when None."""
        if affine is None:
            by_temperature = self.named["calibrator"]["name"] in ("temperature", "constant")
            affine = _A_TEMPERATURE if by_temperature else _BY_CLASS
        return joined_effect(self.built, affine)

    @property
    def teacher_is_file(self) -> bool:
        """Whether the teacher is a file that another runtime runs, not a net of torch."""
        return self.recipe.teacher.name in TEACHER_FILES


def check(recipe: Recipe, where: str) -> Checked:
    """Look every name up.

    Raises:
        RecipeError: an unknown name, setting, or a combination that cannot work.
        EnvironmentProblem: a named entry needs a package that is not installed.
    """
    if recipe.student.name in TEACHER_FILES:
        raise RecipeError(
            f"{where}: student.name: a file ({recipe.student.name}) can teach, but not be trained",
            remedy="Name a model: calkd-edge list models",
        )
    if recipe.calibrator.name in TABLES:
        raise RecipeError(
            f"{where}: calibrator.name: {recipe.calibrator.name} can be measured, but cannot ship: "
            f"{WHY_NOT_FOLDED}",
            remedy=f"Write calibrate: {{compare: [{{name: {recipe.calibrator.name}}}]}} to measure it.",
        )
    named = {
        "data": _named(DATASETS, recipe.data, f"{where}: data"),
        "augmentation": _named(AUGMENTATIONS, recipe.data.augmentation, f"{where}: data.augmentation"),
        "teacher": _named_teacher(recipe.teacher, f"{where}: teacher"),
        "student": _named(MODELS, recipe.student, f"{where}: student"),
        "calibrator": _named(CALIBRATORS, recipe.calibrator, f"{where}: calibrator"),
    }
    for section, training in (("teacher_training", recipe.teacher_training), ("distill", recipe.distill)):
        if training is not None and training.mixing is not None:
            named[f"{section}.mixing"] = _named(MIXINGS, training.mixing, f"{where}: {section}.mixing")
    compared = tuple(
        _named(TABLES if one.name in TABLES else CALIBRATORS, one, f"{where}: calibrate.compare[{place}]")
        for place, one in enumerate(recipe.calibrate.compare)
    )
    losses = tuple(
        {**_named(LOSSES, loss, f"{where}: distill.losses[{place}]"), "weight": loss.weight}
        for place, loss in enumerate(recipe.distill.losses)
    )
    precisions = tuple(
        _named(QUANTIZERS, precision, f"{where}: precisions[{place}]")
        for place, precision in enumerate(recipe.precisions)
    )
    gates.check(recipe.gates, [precision["name"] for precision in precisions], where=where)
    _check_devices(recipe, where)
    _check_teacher(recipe, where)
    for role, model in (("teacher", recipe.teacher), ("student", recipe.student)):
        _check_foreign_weights(model, named[role]["settings"], f"{where}: {role}")
    root = None if recipe.data.root is None else Path(recipe.data.root)
    dataset: Dataset = DATASETS.load(named["data"]["name"])(root, **named["data"]["settings"])
    built = [_built(loss, f"{where}: distill.losses[{place}]") for place, loss in enumerate(losses)]
    mode, reason = _teacher_mode(recipe, built)
    featured = [loss["name"] for loss, made in zip(losses, built, strict=True) if made.teacher_taps]
    if featured and recipe.teacher.name in TEACHER_FILES:
        raise RecipeError(
            f"{where}: distill.losses: {', '.join(featured)} reads the teacher's features, "
            f"a teacher in a file ({recipe.teacher.name}) gives logits alone",
            remedy="Take losses of logits (kd, dkd, dist), or a teacher that torch runs.",
        )
    mixing = recipe.distill.mixing
    for loss, made in zip(losses, built, strict=True):
        if mixing is not None and not made.takes_mixed:
            raise RecipeError(
                f"{where}: distill.mixing: {loss['name']} keeps something of each training image, and "
                f"{mixing.name} makes images that are none of them",
                remedy="Remove distill.mixing, or take another loss.",
            )
    if featured:
        try_taps(named["student"], named["teacher"], losses, dataset.size()[1], where=where)
    return Checked(recipe, where, dataset, named, losses, precisions, compared, mode, reason, tuple(built))


def _named(registry: Registry, choice: Choice, where: str) -> dict[str, Any]:
    beside = type(choice).model_fields
    own = registry.settings(choice.name, choice.settings, where=where, beside=beside)
    return {"name": choice.name, "settings": own}


def _named_teacher(teacher: ModelSection, where: str) -> dict[str, Any]:
    if teacher.name not in TEACHER_FILES:
        return _named(MODELS, teacher, where)
    normalisation = {"mean": teacher.mean, "std": teacher.std} if teacher.mean is not None else {}
    return _named(TEACHER_FILES, Choice(name=teacher.name, **teacher.settings, **normalisation), where)


def _built(loss: Mapping[str, Any], where: str) -> Loss:
    """A loss of no particular size: enough to ask what it reads and what it feels."""

    def shape(path: str) -> tuple[int, ...]:
        return (1, 1, 1)

    def module(path: str) -> nn.Module:
        return nn.Linear(1, 2)

    context = Context(2, 2, 1, shape, shape, module, module)
    try:
        made: Loss = LOSSES.load(loss["name"])(context, **loss["settings"])
    except RecipeError as refused:
        raise RecipeError(f"{where}: {refused}", remedy=refused.remedy) from refused
    return made


def _teacher_mode(recipe: Recipe, losses: list[Loss]) -> tuple[TeacherMode, str]:
    featured = [type(loss).__name__ for loss in losses if loss.teacher_taps]
    if featured:
        return "live", f"{', '.join(featured)} reads the teacher's features, which are not stored"
    if not any(loss.uses_teacher for loss in losses):
        return "none", ""
    if recipe.distill.mixing is not None:
        return "live", f"{recipe.distill.mixing.name} mixes images, so no view comes twice"
    if recipe.distill.soft_labels.live:
        return "live", "distill.soft_labels.live is true"
    return "stored", ""


def _check_devices(recipe: Recipe, where: str) -> None:
    for place, device in enumerate(recipe.devices):
        _check_name(device, f"{where}: devices[{place}].name")
        if device.runtime not in RUNTIMES:
            raise RecipeError(
                f"{where}: devices[{place}].runtime: no runtime is named '{device.runtime}'",
                remedy=f"{did_you_mean(device.runtime, RUNTIMES)}Valid: {', '.join(RUNTIMES)}.",
            )
        if RUNTIMES[device.runtime].is_converted:
            converter_of(device.runtime).check()
        valid = sorted(set(known_options(device.runtime)) - set(TAKEN_OPTIONS))
        for key in device.options:
            if key not in valid:
                raise RecipeError(
                    f"{where}: devices[{place}].options: {device.runtime} has no option '{key}'",
                    remedy=f"{did_you_mean(key, valid)}Valid: {', '.join(valid)}.",
                )
    names = [device.name for device in recipe.devices]
    if recipe.calibrate.on not in names:
        raise RecipeError(
            f"{where}: calibrate.on: '{recipe.calibrate.on}' is not among the devices ({', '.join(names)})",
            remedy=f"{did_you_mean(recipe.calibrate.on, names)}Name one of the devices.",
        )
    for place, gate in enumerate(recipe.gates):
        known = [*names, *(device.label for device in recipe.devices), "target"]
        if gate.device is not None and gate.device not in known:
            raise RecipeError(
                f"{where}: gates[{place}].device: '{gate.device}' is not among {', '.join(known)}",
                remedy=f"{did_you_mean(gate.device, known)}Or add it with --device {gate.device}.",
            )


def _check_name(device: DeviceSection, where: str) -> None:
    """Refuse a device that nothing knows; where one is, is asked when it is needed."""
    try:
        location_of(device.name, device.own_place)
    except RecipeError as unknown:
        raise RecipeError(f"{where}: {unknown.message}", remedy=unknown.remedy) from unknown
    except DeviceError:
        return


def _check_teacher(recipe: Recipe, where: str) -> None:
    weights, name = recipe.teacher.weights, recipe.teacher.name
    if name in TEACHER_FILES and weights is None:
        raise RecipeError(
            f"{where}: teacher.weights: this key is missing: the teacher '{name}' is a file",
            remedy="Add weights: FILE and trained_on:, and remove teacher_training and pretrained.",
        )
    if weights is not None and weights.endswith(".onnx") and name not in TEACHER_FILES:
        raise RecipeError(
            f"{where}: teacher.weights: {weights} is an ONNX file, the model '{name}' is built by torch",
            remedy="Set teacher.name: onnx.",
        )


def _check_foreign_weights(model: ModelSection, settings: Mapping[str, Any], where: str) -> None:
    for key, place in (("weights", model.weights), ("pretrained", model.pretrained)):
        if isinstance(place, str) and not Path(place).is_file():
            raise RecipeError(f"{where}.{key}: there is no file {place}", remedy="Correct the path.")
    if model.pretrained is True:
        pretrained.published(model.name, settings, where)
    if model.trained_on == "all_train":
        raise RecipeError(
            f"{where}.trained_on: this {where.rpartition(' ')[2]} has seen the images that calibration would "
            "use; a temperature fitted on memorised images is wrong",
            remedy="Train it on this recipe's train split alone (trained_on: train), or take other data.",
        )
