"""How a network begins: drawn from a seed, filled from a weights file, or pretrained with a new head."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.models import image_model, pretrained
from calkd_edge.models.checkpoint import fill, read_state
from calkd_edge.models.head import body, head_names
from calkd_edge.models.image_model import DESCRIPTION, ImageModel, ModelDescription
from calkd_edge.recipe.training import ModelSection
from calkd_edge.stages.epochs import description_of
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


def params_of(model: ModelSection, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `begin` asks of a job's params, from a recipe's section: files by their content, not by place."""
    identity = None
    if model.pretrained is True:
        identity = pretrained.published(model.name, settings, "").identity
    elif model.pretrained is not None:
        identity = sha256_of(Path(model.pretrained))
    return {
        "weights_sha256": None if model.weights is None else sha256_of(Path(model.weights)),
        "pretrained": identity,
        "freeze_epochs": model.freeze_epochs,
        "trained_on": model.trained_on,
        "mean": model.mean,
        "std": model.std,
    }


def places_of(model: ModelSection) -> dict[str, Any]:
    """Where `begin` finds the files of `params_of`."""
    return {"weights": model.weights, "pretrained": model.pretrained}


def begin(job: Job, prepared: Prepared, *, where: str) -> Start:
    """The network that a training stage's params and places ask for.

    Args:
        job: its params hold `model`, `seed` and those of `params_of`, its places those of `places_of`.
        prepared: gives classes, image size and, for a network drawn here, the normalisation.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: a file that does not fit the network or names other classes.
        EnvironmentProblem: published weights that are neither here nor to be had.
    """
    params, places = job.params, job.locations
    description = description_of(params["model"], prepared, params["trained_on"] or "train")
    if params["weights_sha256"] is not None:
        path = Path(places["weights"])
        description = _normalised(description, params, _beside(path))
        _check_classes(_beside(path), prepared.classes, f"{where}.weights: {path}")
        return _filled(description, path, params["seed"], f"{where}.weights")
    if params["pretrained"] is not None:
        return _pretrained(description, job, where)
    torch.manual_seed(params["seed"])
    return Start(image_model.build(description), description)


def _filled(description: ModelDescription, path: Path, seed: int, where: str) -> Start:
    torch.manual_seed(seed)
    model = image_model.build(description)
    fill(model.backbone, read_state(path, where), f"{where}: {path}")
    return Start(model, description)


def _pretrained(description: ModelDescription, job: Job, where: str) -> Start:
    params, place = job.params, job.locations["pretrained"]
    name, settings = description.name, description.settings
    if place is True:
        found = pretrained.published(name, settings, where)
        state, source = pretrained.fetch(name, settings, job.progress, where), found.url
        description = _normalised(description, params, {"mean": found.mean, "std": found.std})
    else:
        state, source = read_state(Path(place), f"{where}.pretrained"), place
        description = _normalised(description, params, _beside(Path(place)))
    head = head_names(name, settings, len(description.classes), description.image_shape)
    torch.manual_seed(params["seed"])
    model = image_model.build(description)
    fill(model.backbone, state, f"{where}.pretrained: {source}", excluded=head)
    # "train" from now on: it is trained on there, and was declared to have seen nothing else of this data.
    description = description.model_copy(update={"trained_on": "train"})
    return Start(model, description, Frozen(*body(model.backbone, head)))


def _beside(path: Path) -> Mapping[str, Any]:
    """What the model.json beside a weights file says, as every teacher and student folder has one.

    Other tools write files of that name too; theirs say nothing here.
    """
    beside = path.parent / DESCRIPTION
    try:
        told = json.loads(beside.read_bytes()) if beside.is_file() else None
    except ValueError:
        told = None
    if isinstance(told, dict) and "schema_version" in told:
        return image_model.describe(path.parent).model_dump()
    if beside.is_file():
        log.warning("%s is not one of ours: neither normalisation nor classes are taken from it", beside)
    return {}


def _normalised(
    description: ModelDescription, params: Mapping[str, Any], known: Mapping[str, Any]
) -> ModelDescription:
    """With the recipe's normalisation, else with the weights' own, else with the train split's."""
    given = {key: params[key] or known.get(key) for key in ("mean", "std")}
    return description.model_copy(update={key: tuple(value) for key, value in given.items() if value})


def _check_classes(known: Mapping[str, Any], classes: Sequence[str], source: str) -> None:
    theirs = tuple(known.get("classes", classes))
    if theirs == tuple(classes):
        return
    if len(theirs) != len(classes):
        what = f"{len(theirs)} classes, the data {len(classes)}"
    elif set(theirs) == set(classes):
        what = "the data's classes in another order"
    else:
        first = next(pair for pair in zip(theirs, classes, strict=True) if pair[0] != pair[1])
        what = f"other classes than the data: '{first[0]}' where that has '{first[1]}'"
    raise RecipeError(
        f"{source} was made for {what}",
        remedy="Take the data it was made for; or `pretrained: FILE` in its place, which replaces the head "
        "and trains on.",
    )
