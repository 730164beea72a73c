"""Published weights by the name of a model: torchvision's and timm's, downloaded once and checked.

In scope: finding, downloading and reading them. Out of scope: heads, fine-tuning, the user's weights files.
torchvision and timm are imported when one of their models is named: each takes a second to load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import torch
from torch import Tensor

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files.download import Checksum, Progress, check_reachable, download
from calkd_edge.files.paths import user_path
from calkd_edge.models.checkpoint import read_state
from calkd_edge.models.timm_ import import_timm

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALVES = (0.5, 0.5, 0.5)
_TRAINED_ON_HALVES = ("googlenet", "inception_v3")
"""Their published weights expect (x - 0.5) / 0.5: torchvision's builders set `transform_input` for them."""

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
"""torchvision's names of our models, by width."""


@dataclass(frozen=True)
class Published:
    """Published weights of a model.

    Attributes:
        identity: changes when the weights change; needs no network.
        url: of the file; for timm, of the model's page.
        mean: per channel, of the normalisation in training, as a fraction of 255.
        std: per channel, likewise.
    """

    identity: str
    url: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def published(name: str, settings: Mapping[str, object], where: str) -> Published:
    """The published weights of a model; needs no network.

    Args:
        name: of the model.
        settings: of the model, with every default filled in.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: no weights are published for it.
        EnvironmentProblem: the model needs timm, which is not installed.
    """
    if name == "timm":
        return _from_timm(str(settings["architecture"]), where)
    weights = _from_torchvision(name, settings)
    if weights is None:
        width = f" at width {settings['width']:g}" if "width" in settings else ""
        raise RecipeError(
            f"{where}.pretrained: no published weights are known for {name}{width}",
            remedy=f"Name a file: {_named_file(where)}. Or remove the key.",
        )
    transforms = weights.transforms()
    mean, std = getattr(transforms, "mean", _IMAGENET_MEAN), getattr(transforms, "std", _IMAGENET_STD)
    if settings.get("architecture") in _TRAINED_ON_HALVES:
        mean = std = _HALVES
    return Published(f"torchvision:{weights.url}", weights.url, _triple(mean), _triple(std))


def fetch(name: str, settings: Mapping[str, object], progress: Progress, where: str) -> dict[str, Tensor]:
    """The state dict of a model's published weights, from the library's cache or downloaded into it.

    Raises:
        RecipeError: no weights are published for the model.
        EnvironmentProblem: the weights are not in the cache and cannot be downloaded.
    """
    weights = published(name, settings, where)
    key = f"{where}.pretrained"
    if name == "timm":
        return _timm_state(str(settings["architecture"]), weights, key)
    cache = _cached(weights)
    digest = re.search(r"-([0-9a-f]{8,})\.", cache.name)  # the start of the SHA-256 in torch.hub's names
    if digest is None:
        raise EnvironmentProblem(
            f"{key}: the name of {weights.url} contains no checksum",
            remedy=f"Name a file: {_named_file(where)}.",
        )
    download(
        weights.url,
        cache,
        checksum=Checksum("sha256", digest[1]),
        progress=progress,
        remedy=_without_network(cache, key),
    )
    return read_state(cache, key)


def check_available(name: str, settings: Mapping[str, object], where: str) -> None:
    """Refuse published weights that are neither cached nor reachable.

    Args:
        name: of the model.
        settings: of the model, with every default filled in.
        where: the recipe's section, for messages.

    Raises:
        RecipeError: no weights are published for the model.
        EnvironmentProblem: they are not in the cache and cannot be downloaded.
    """
    weights, key = published(name, settings, where), f"{where}.pretrained"
    if name == "timm":
        cache = huggingface_cache() / f"models--{weights.url.partition('.co/')[2].replace('/', '--')}"
    else:
        cache = _cached(weights)
    if not cache.exists():
        check_reachable(weights.url, what=key, remedy=_without_network(cache, key))


def _cached(weights: Published) -> Path:
    return torchvision_cache() / Path(urlparse(weights.url).path).name


def _without_network(cache: Path, key: str) -> str:
    section = key.removesuffix(".pretrained")
    return f"Without a network: copy the file to {cache}, or name it: {_named_file(section)}"


def _named_file(where: str) -> str:
    """The options that name a file of weights instead, for a section of a recipe."""
    section = where.rpartition(": ")[2]
    return f"--set {section}.pretrained=FILE --set {section}.trained_on=other"


def huggingface_cache() -> Path:
    """The folder of huggingface_hub's downloads; HF_HUB_CACHE and HF_HOME in the environment move it."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return user_path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub", "HF_HUB_CACHE")


def torchvision_cache() -> Path:
    """The folder of torch.hub's downloaded weights; the environment variable TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _from_torchvision(name: str, settings: Mapping[str, object]) -> WeightsEnum | None:
    if name == "torchvision":
        architecture = str(settings["architecture"])
    else:
        architecture = _torchvision_name(name, settings)
        if not architecture:
            return None
    from torchvision import models

    if architecture not in models.list_models(module=models):
        return None
    known = models.get_model_weights(architecture)
    return known.DEFAULT if len(known) else None


def _torchvision_name(name: str, settings: Mapping[str, object]) -> str:
    """torchvision's name of one of our models, or the empty string."""
    width = settings.get("width")
    if not isinstance(width, float) or settings.get("divisor", 8) != 8:
        return ""
    return _BY_NAME.get(name, {}).get(width, "")


def _from_timm(architecture: str, where: str) -> Published:
    entry = import_timm(architecture).get_pretrained_cfg(architecture, allow_unregistered=True)
    if entry is None or not entry.hf_hub_id:
        raise RecipeError(
            f"{where}.pretrained: timm publishes no weights for '{architecture}'",
            remedy=f"Name a tag with published weights, or a file: {_named_file(where)}.",
        )
    identity = f"timm:{entry.hf_hub_id}:{entry.tag}"
    return Published(identity, f"https://huggingface.co/{entry.hf_hub_id}", entry.mean, entry.std)


def _timm_state(architecture: str, weights: Published, key: str) -> dict[str, Tensor]:
    timm = import_timm(architecture)
    try:
        state: dict[str, Tensor] = timm.create_model(architecture, pretrained=True).state_dict()
    except Exception as wrong:  # huggingface_hub and its HTTP library raise many classes
        raise EnvironmentProblem(
            f"{key}: cannot download {weights.url}: "
            f"{str(wrong).splitlines()[0] if str(wrong) else type(wrong).__name__}",
            remedy=f"Without a network: copy the weights into the cache {huggingface_cache()}, or name a "
            f"file: {_named_file(key.removesuffix('.pretrained'))}",
        ) from wrong
    return state


def _triple(numbers: Iterable[float]) -> tuple[float, float, float]:
    first, second, third = map(float, numbers)
    return first, second, third
