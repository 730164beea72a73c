"""How a network starts: from a seed, from a weights file, or pretrained with a new head."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageShape
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import Unreadable, parse_json, read_bounded
from calkd_edge.files.paths import check_readable
from calkd_edge.models import image_model, pretrained
from calkd_edge.models.checkpoint import fill, read_state
from calkd_edge.models.head import body, head_names, shrink
from calkd_edge.models.image_model import DESCRIPTION, ImageModel, ModelDescription
from calkd_edge.models.without_weights import without_weights
from calkd_edge.recipe.training import ModelSection
from calkd_edge.records import Component
from calkd_edge.registry import recipe_error, strictly
from calkd_edge.stages.epochs import description_of
from calkd_edge.stages.params import StartParams
from calkd_edge.training.loop import Frozen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A network before its training.

    Attributes:
        model: the network.
        description: of the network as it will be saved.
        frozen: of a pretrained network, all but its new head.
    """

    model: ImageModel
    description: ModelDescription
    frozen: Frozen = field(default_factory=Frozen)


def start_of(
    job: Job, params: StartParams, component: Component, seed: int, prepared: Prepared, *, where: str
) -> Start:
    """The network before its training.

    Args:
        job: its places hold the paths of weights files.
        params: how the network starts.
        component: the model.
        seed: of the weights that no file provides.
        prepared: gives classes, image size and, for weights drawn from the seed, the normalisation.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: a file that does not fit the network or names other classes.
        EnvironmentProblem: published weights that are neither cached nor reachable.
    """
    description = description_of(component, prepared, params.trained_on or "train")
    if params.weights_sha256 is not None:
        path = Path(job.locations["weights"])
        facts = _facts_beside(path)
        _check_classes(facts, prepared.classes, f"{where}.weights: {path}")
        description = _normalised(description, params, facts)
        return _filled(description, path, seed, f"{where}.weights")
    if params.pretrained is not None:
        return _pretrained(description, job, params, seed, where)
    torch.manual_seed(seed)
    return Start(image_model.build(description), description)


def check_start(
    section: ModelSection, component: Component, classes: tuple[str, ...], shape: ImageShape, *, where: str
) -> None:
    """Refuse what `start_of` would refuse: a network that cannot be built, weights that do not fit it.

    Args:
        section: of the recipe.
        component: the model.
        classes: of the data.
        shape: (3, H, W) of the data.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: as `start_of`.
        EnvironmentProblem: published weights that are neither cached nor reachable.
    """
    description = ModelDescription(
        name=component.name,
        settings=component.settings,
        classes=classes,
        image_shape=shape,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        trained_on=section.trained_on or "train",
        input_note="",
        license="",
    )
    if section.weights is not None:
        path = Path(section.weights)
        _check_classes(_facts_beside(path), classes, f"{where}.weights: {path}")
        _filled(description, path, 0, f"{where}.weights")
    elif isinstance(section.pretrained, str):
        path = Path(section.pretrained)
        _facts_beside(path)
        head = head_names(component.name, component.settings, len(classes), shape)
        backbone = image_model.build(description).backbone
        fill(backbone, read_state(path, f"{where}.pretrained"), f"{where}.pretrained: {path}", head)
    else:
        if section.pretrained:
            pretrained.check_available(component.name, component.settings, where)
        without_weights(lambda: image_model.build(description))


def _filled(description: ModelDescription, path: Path, seed: int, where: str) -> Start:
    torch.manual_seed(seed)
    model = image_model.build(description)
    fill(model.backbone, read_state(path, where), f"{where}: {path}")
    return Start(model, description)


def _pretrained(description: ModelDescription, job: Job, params: StartParams, seed: int, where: str) -> Start:
    location = job.locations["pretrained"]
    name, settings = description.name, description.settings
    if location is True:
        published = pretrained.published(name, settings, where)
        state, source = pretrained.fetch(name, settings, job.progress, where), published.url
        normalisation = {"mean": published.mean, "std": published.std}
        description = _normalised(description, params, normalisation)
    else:
        state, source = read_state(Path(location), f"{where}.pretrained"), location
        description = _normalised(description, params, _facts_beside(Path(location)))
    head = head_names(name, settings, len(description.classes), description.image_shape)
    torch.manual_seed(seed)
    model = image_model.build(description)
    fill(model.backbone, state, f"{where}.pretrained: {source}", excluded=head)
    shrink(model.backbone, head, params.head_scale)
    # "train" from now on: it is trained there, and was declared to have seen nothing else of this data.
    description = description.model_copy(update={"trained_on": "train"})
    return Start(model, description, Frozen(*body(model.backbone, head)))


def _facts_beside(path: Path) -> Mapping[str, Any]:
    """The model.json beside a weights file: every teacher and student folder has one.

    Other tools write files of that name too; those are not read.

    Raises:
        RecipeError: it is one of ours, and its values are wrong; or it must not be read.
    """
    file = path.parent / DESCRIPTION
    if not file.is_file():
        return {}
    check_readable(file, "the description beside the weights")
    try:
        facts = parse_json(read_bounded(file))
    except Unreadable:
        facts = None
    if not isinstance(facts, dict) or "schema_version" not in facts:
        log.warning(
            "%s was written by another tool: neither normalisation nor classes are read from it", file
        )
        return {}
    try:
        return strictly(ModelDescription, facts).model_dump()
    except ValidationError as wrong:
        refused = recipe_error(wrong, where=str(file), valid=[*ModelDescription.model_fields])
        remedy = f"Correct {file}, or move it away: mean and std may stand in the recipe."
        raise RecipeError(refused.message, remedy=remedy) from None


def _normalised(
    description: ModelDescription, params: StartParams, facts: Mapping[str, Any]
) -> ModelDescription:
    """With the recipe's normalisation, else that of the weights, else that of the train split."""
    values = {"mean": params.mean or facts.get("mean"), "std": params.std or facts.get("std")}
    return description.model_copy(update={key: tuple(value) for key, value in values.items() if value})


def _check_classes(facts: Mapping[str, Any], classes: Sequence[str], source: str) -> None:
    named = tuple(facts.get("classes", classes))
    if named == tuple(classes):
        return
    if len(named) != len(classes):
        what = f"{len(named)} classes, the data {len(classes)}"
    elif set(named) == set(classes):
        what = "the data's classes in another order"
    else:
        first = next(pair for pair in zip(named, classes, strict=True) if pair[0] != pair[1])
        what = f"other classes than the data: '{first[0]}' where the data has '{first[1]}'"
    raise RecipeError(
        f"{source} was made for {what}",
        remedy="Use the data it was made for; or `pretrained: FILE` instead, which replaces the head "
        "and trains further.",
    )
