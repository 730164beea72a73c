"""Weights from outside: files that other trainings wrote, and whether they fit a network here.

In scope: reading safetensors and pickled state dicts safely, their common wrappers, every difference of
keys. Out of scope: where files come from, what a network was trained on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from calkd_edge.errors import RecipeError

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "model_state")
"""Keys under which trainings keep the state dict beside epoch, optimizer and the like."""

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""What DataParallel, torch.compile and our own ImageModel put before every name."""

_UNUSED_COUNT = "num_batches_tracked"
"""Absent from checkpoints older than torch 0.4.1; nothing reads it where momentum is a number."""


def read_state(path: Path, where: str) -> dict[str, Tensor]:
    """The state dict in a file, its wrapper and prefixes taken off, floats of 16 bits widened to 32.

    Args:
        path: safetensors, or what torch.save wrote; the latter is read without running any code in it.
        where: the recipe's key, for messages.

    Raises:
        RecipeError: no such file, no checkpoint, or one without a state dict.
    """
    if not path.is_file():
        raise RecipeError(f"{where}: there is no file {path}", remedy="Correct the path.")
    state = _read_safetensors(path, where) if path.suffix == ".safetensors" else _read_pickle(path, where)
    state = _unprefixed(state)
    return {
        name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in state.items()
    }


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as broken:  # safetensors raises its own classes, without a common base
        raise RecipeError(
            f"{where}: {path} is not a safetensors file: {broken}",
            remedy="Convert it: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors').",
        ) from broken


def _read_pickle(path: Path, where: str) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as broken:  # UnpicklingError, RuntimeError, EOFError, KeyError: as the file is broken
        raise RecipeError(
            f"{where}: {path} holds no state dict that can be read without running its code: "
            f"{str(broken).splitlines()[0] if str(broken) else type(broken).__name__}",
            remedy="Where it was trained: torch.save(model.state_dict(), 'weights.pth').",
        ) from broken
    found = _state_dict_in(content)
    if found is None:
        kind = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content)
        raise RecipeError(
            f"{where}: {path} holds no state dict, but {kind}",
            remedy=f"Save the state dict alone, or under one of: {', '.join(WRAPPERS)}.",
        )
    return found


def _harmless() -> list[Any]:
    """What a checkpoint may hold besides tensors and Python's own types; none of it runs code when loaded:
    command lines and numpy's numbers, which many trainings keep beside the weights.
    """
    scalar: Any = np.float64(0).__reduce__()[0]  # its module's name differs between numpy 1 and 2
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    return [argparse.Namespace, np.dtype, scalar, *kinds]


def _state_dict_in(content: object) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    for wrapper in WRAPPERS:
        found = _state_dict_in(content.get(wrapper))
        if found is not None:
            return found
    return None


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while state:
        prefix = next((one for one in PREFIXES if all(name.startswith(one) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def fill(backbone: nn.Module, state: Mapping[str, Tensor], source: str, spared: Collection[str] = ()) -> None:
    """Copy a state dict into a network; every key and shape must match.

    Args:
        backbone: filled only if all fits.
        state: by the network's own names.
        source: the recipe's key and the file, for messages.
        spared: names that keep what they have, whatever the state says of them.

    Raises:
        RecipeError: keys or shapes differ (all differences are listed), or a tensor holds integers for
            numbers, or what is not finite.
    """
    own = backbone.state_dict()
    state = {name: tensor for name, tensor in state.items() if name not in spared}
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items() if name not in spared}
    uncounted = {name for name in wanted.keys() - state.keys() if name.endswith(_UNUSED_COUNT)}
    if uncounted:
        log.info("%s: %d counts of batches are absent; nothing reads them", source, len(uncounted))
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: shape for name, shape in wanted.items() if name not in uncounted}
    if wanted != given:
        wrong = [f"missing {name}" for name in sorted(wanted.keys() - given.keys())]
        wrong += [f"surplus {name}" for name in sorted(given.keys() - wanted.keys())]
        wrong += [
            f"{name} is {list(given[name])} instead of {list(wanted[name])}"
            for name in sorted(wanted.keys() & given.keys())
            if wanted[name] != given[name]
        ]
        raise RecipeError(
            f"{source} does not fit the model: {'; '.join(wrong)}",
            remedy="Name the architecture, width and classes that the weights were made with.",
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise RecipeError(
                f"{source}: {name} holds {tensor.dtype}, the model wants {own[name].dtype}",
                remedy="Name the weights before they were quantized.",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise RecipeError(
                f"{source}: {name} holds numbers that are not finite",
                remedy="That training has diverged: name an earlier checkpoint.",
            )
    backbone.load_state_dict({**own, **state})
