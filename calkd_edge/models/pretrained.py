"""Published weights by a model's name: where torchvision and timm keep them, fetched once and checked.

In scope: finding, downloading and reading them. Out of scope: heads, fine-tuning, weights files of one's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision import models
from torchvision.models import WeightsEnum

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files.download import Checksum, Progress, download
from calkd_edge.models import timm_
from calkd_edge.models.checkpoint import read_state

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALVES = (0.5, 0.5, 0.5)
_TRAINED_ON_HALVES = ("googlenet", "inception_v3")
"""Their published weights want (x - 0.5) / 0.5: torchvision's own builders set `transform_input` for them."""

_TRAINING_ONLY = ("aux1.", "aux2.", "AuxLogits.")
"""Second heads of GoogLeNet and Inception, which torchvision publishes and we do not build."""

_BY_NAME: dict[str, dict[float, str]] = {
    "mobilenet_v2": {1.0: "mobilenet_v2"},
    "mobilenet_v3_small": {1.0: "mobilenet_v3_small"},
    "mobilenet_v3_large": {1.0: "mobilenet_v3_large"},
    "shufflenet_v2": {
        0.5: "shufflenet_v2_x0_5",
        1.0: "shufflenet_v2_x1_0",
        1.5: "shufflenet_v2_x1_5",
        2.0: "shufflenet_v2_x2_0",
    },
}
"""torchvision's names of our own models, by width."""


@dataclass(frozen=True)
class Published:
    """Weights that somebody publishes for a model.

    Attributes:
        identity: changes when they do; needs no network.
        url: of the file, or of the page of timm's.
        mean: of the normalisation they were trained with, in fractions of 255.
        std: likewise.
    """

    identity: str
    url: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def published(name: str, settings: Mapping[str, Any], where: str) -> Published:
    """What is published for a model, found without a network.

    Args:
        name: the model's.
        settings: with every default filled in.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: nothing is.
        EnvironmentProblem: timm is asked for and not installed.
    """
    if name == "timm":
        return _of_timm(settings["architecture"], where)
    weights = _of_torchvision(name, settings)
    if weights is None:
        width = f" at width {settings['width']:g}" if "width" in settings else ""
        raise RecipeError(
            f"{where}.pretrained: no published weights are known here for {name}{width}",
            remedy="Name a file: pretrained: FILE. Or leave the key out.",
        )
    shown = weights.transforms()
    mean, std = getattr(shown, "mean", _IMAGENET_MEAN), getattr(shown, "std", _IMAGENET_STD)
    if settings.get("architecture") in _TRAINED_ON_HALVES:
        mean = std = _HALVES
    return Published(f"torchvision:{weights.url}", weights.url, _triple(mean), _triple(std))


def fetch(name: str, settings: Mapping[str, Any], progress: Progress, where: str) -> dict[str, Tensor]:
    """The state dict of what is published, from the library's own cache or downloaded into it.

    Raises:
        RecipeError: nothing is published.
        EnvironmentProblem: not in the cache, and it cannot be downloaded.
    """
    found = published(name, settings, where)
    key = f"{where}.pretrained"
    if name == "timm":
        return _timms_state(settings["architecture"], found, key)
    cache = torchvision_cache() / Path(urlparse(found.url).path).name
    digest = re.search(r"-([0-9a-f]{8,})\.", cache.name)  # torch.hub's names carry how the SHA-256 begins
    if digest is None:
        raise EnvironmentProblem(
            f"{key}: {found.url} carries no checksum in its name", remedy="Name a file: pretrained: FILE."
        )
    download(
        found.url,
        cache,
        checksum=Checksum("sha256", digest[1]),
        progress=progress,
        remedy=f"Without a network: put the file to {cache}, or name it: {key}: FILE",
    )
    state = read_state(cache, key)
    return {name: tensor for name, tensor in state.items() if not name.startswith(_TRAINING_ONLY)}


def torchvision_cache() -> Path:
    """Where torch.hub keeps downloaded weights; TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _of_torchvision(name: str, settings: Mapping[str, Any]) -> WeightsEnum | None:
    if name == "torchvision":
        architecture = settings["architecture"]
        if architecture not in models.list_models(module=models):
            return None
    else:
        architecture = _BY_NAME.get(name, {}).get(settings.get("width", 0.0), "")
        if not architecture or settings.get("divisor", 8) != 8:
            return None
    known = models.get_model_weights(architecture)
    return known.DEFAULT if len(known) else None


def _of_timm(architecture: str, where: str) -> Published:
    given = timm_.installed(architecture).get_pretrained_cfg(architecture, allow_unregistered=True)
    if given is None or not given.hf_hub_id:
        raise RecipeError(
            f"{where}.pretrained: timm publishes no weights for '{architecture}'",
            remedy="Name a tag that has some, or a file: pretrained: FILE.",
        )
    identity = f"timm:{given.hf_hub_id}:{given.tag}"
    return Published(identity, f"https://huggingface.co/{given.hf_hub_id}", given.mean, given.std)


def _timms_state(architecture: str, found: Published, key: str) -> dict[str, Tensor]:
    timm = timm_.installed(architecture)
    try:
        state: dict[str, Tensor] = timm.create_model(architecture, pretrained=True).state_dict()
    except Exception as wrong:  # huggingface_hub and its HTTP library raise many classes
        cache = (
            os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub"
        )
        raise EnvironmentProblem(
            f"{key}: cannot get {found.url}: {str(wrong).splitlines()[0] if str(wrong) else type(wrong)}",
            remedy=f"Without a network: fill the cache {cache} elsewhere, or name a file: {key}: FILE",
        ) from wrong
    return state


def _triple(numbers: Any) -> tuple[float, float, float]:
    first, second, third = map(float, numbers)
    return first, second, third
