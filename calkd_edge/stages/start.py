"""How a network starts: from a seed, from a weights file, or pretrained with a new head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageShape
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.models import image_model, pretrained
from calkd_edge.models.checkpoint import fill, read_state
from calkd_edge.models.head import body, head_names, shrink
from calkd_edge.models.image_model import ImageModel, ModelDescription
from calkd_edge.models.pretrained import Published
from calkd_edge.models.without_weights import without_weights
from calkd_edge.recipe.training import ModelSection
from calkd_edge.records import Component, WeightsFacts
from calkd_edge.stages.epochs import description_of
from calkd_edge.stages.params import StartParams
from calkd_edge.stages.unchanged import unchanged
from calkd_edge.training.loop import Frozen


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
        StageFailed: a file changed since the plan.
        EnvironmentProblem: published weights that are neither cached nor reachable.
    """
    description = description_of(component, prepared, params.trained_on or "train")
    if params.weights_sha256 is not None:
        path = Path(job.locations["weights"])
        _check_classes(params.beside, prepared.classes, f"{where}.weights: {path}")
        description = _normalised(description, params, params.beside)
        with unchanged(f"{where}.weights: {path}", params.weights_sha256, partial(sha256_of, path)):
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
        _check_classes(image_model.description_beside(path), classes, f"{where}.weights: {path}")
        _filled(description, path, 0, f"{where}.weights")
    elif isinstance(section.pretrained, str):
        path = Path(section.pretrained)
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
        description = _normalised(description, params, published)
    else:
        key, source = f"{where}.pretrained", location
        with unchanged(f"{key}: {location}", str(params.pretrained), partial(sha256_of, Path(location))):
            state = read_state(Path(location), key)
        description = _normalised(description, params, params.beside)
    head = head_names(name, settings, len(description.classes), description.image_shape)
    torch.manual_seed(seed)
    model = image_model.build(description)
    fill(model.backbone, state, f"{where}.pretrained: {source}", excluded=head)
    shrink(model.backbone, head, params.head_scale)
    # "train" from now on: it is trained there, and was declared to have seen nothing else of this data.
    description = description.model_copy(update={"trained_on": "train"})
    return Start(model, description, Frozen(*body(model.backbone, head)))


def _normalised(
    description: ModelDescription, params: StartParams, beside: WeightsFacts | Published | None
) -> ModelDescription:
    """With the recipe's normalisation, else that of the weights, else that of the train split."""
    values = {key: getattr(params, key) or getattr(beside, key, None) for key in ("mean", "std")}
    return description.model_copy(update={key: value for key, value in values.items() if value})


def _check_classes(
    beside: WeightsFacts | ModelDescription | None, classes: Sequence[str], source: str
) -> None:
    named = None if beside is None else beside.classes
    if named is None or named == tuple(classes):
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
