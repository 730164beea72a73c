"""ImageModel: a network that takes uint8 images and normalises them itself, and its folder on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files.bounded import Unreadable, parse_json, read_bounded
from calkd_edge.files.machine_limits import naming_limits
from calkd_edge.files.paths import check_readable
from calkd_edge.models import MODELS
from calkd_edge.records import Mean, Record, Std
from calkd_edge.registry import recipe_error, strictly

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"


class ModelDescription(Record):
    """model.json: everything needed to build the network again, and the data it was trained on."""

    schema_version: Literal[1] = 1
    name: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Std, Std, Std]
    trained_on: str
    input_note: str = ""
    license: str = ""


class ImageModel(nn.Module):
    """A backbone with its normalisation: uint8 images in, logits out.

    Args:
        backbone: normalised float images [B, 3, H, W] -> logits [B, C].
        mean: per channel, as a fraction of 255.
        std: per channel, as a fraction of 255.
    """

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), False)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float32)).view(1, 3, 1, 1)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] for uint8 images [B, 3, H, W]."""
        return self.backbone((images.to(self.mean.dtype) - self.mean) * self.scale)  # type: ignore[no-any-return]


def build(description: ModelDescription) -> ImageModel:
    """An untrained model; weights are drawn from torch's global generator.

    Raises:
        RecipeError: the model or one of its settings is unknown.
    """
    where = f"model {description.name}"
    settings = MODELS.settings(description.name, description.settings, where=where)
    backbone = MODELS.load(description.name)(len(description.classes), description.image_shape, **settings)
    return ImageModel(backbone, description.mean, description.std)


def save(model: ImageModel, description: ModelDescription, folder: Path) -> None:
    """Write weights.safetensors and model.json into `folder`."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.backbone.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(description.model_dump_json(indent=1), encoding="utf-8")


def describe(folder: Path) -> ModelDescription:
    """The parsed model.json of a folder.

    Raises:
        EnvironmentProblem: the file is missing or damaged.
    """
    try:
        with naming_limits():
            return ModelDescription.model_validate_json((folder / DESCRIPTION).read_bytes())
    except PermissionError:
        raise
    except (OSError, ValidationError) as broken:
        raise EnvironmentProblem(
            f"{folder / DESCRIPTION} cannot be read: {broken}", remedy="Run the stage that wrote it again."
        ) from broken


def description_beside(weights: Path) -> ModelDescription | None:
    """The model.json beside a weights file, which every teacher and student folder has; None without one.

    Other tools write files of that name too; those are not read.

    Raises:
        RecipeError: it is one of ours, and its values are wrong; or it must not be read.
    """
    file = weights.parent / DESCRIPTION
    if not file.is_file():
        return None
    check_readable(file, "the description beside the weights")
    try:
        facts = parse_json(read_bounded(file))
    except Unreadable:
        facts = None
    if not isinstance(facts, dict) or "schema_version" not in facts:
        log.warning(
            "%s was written by another tool: neither normalisation nor classes are read from it", file
        )
        return None
    try:
        return strictly(ModelDescription, facts)
    except ValidationError as wrong:
        refused = recipe_error(wrong, where=str(file), valid=[*ModelDescription.model_fields])
        remedy = f"Correct {file}, or move it away: mean and std may stand in the recipe."
        raise RecipeError(refused.message, remedy=remedy) from None


def load(folder: Path) -> tuple[ImageModel, ModelDescription]:
    """The model that `save` wrote, in evaluation mode, and its description."""
    description = describe(folder)
    model = build(description)
    model.backbone.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval(), description
