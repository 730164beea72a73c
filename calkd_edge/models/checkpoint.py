"""Weights from other trainings: reading their files safely, and copying them into a network.

In scope: safetensors and pickled state dicts, their common wrappers and prefixes, a report of every key that
differs. Out of scope: where files come from, what a network was trained on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from calkd_edge.errors import RecipeError

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "model_state")
"""Keys under which training scripts store the state dict beside epoch, optimizer and so on."""

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""Prefixes that DataParallel, torch.compile and our ImageModel add to every name."""

_UNUSED_COUNT = "num_batches_tracked"
"""Absent from checkpoints older than torch 0.4.1; unused where momentum is a number."""


def read_state(path: Path, where: str) -> dict[str, Tensor]:
    """The state dict in a file, without wrapper and prefixes; 16-bit floats become float32.

    Args:
        path: a safetensors file, or one that torch.save wrote; no code in it is run.
        where: the recipe's key, for messages.

    Raises:
        RecipeError: the file does not exist, is not a checkpoint, or contains no state dict.
    """
    if not path.is_file():
        raise RecipeError(f"{where}: the file {path} does not exist", remedy="Correct the path.")
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
        with torch.serialization.safe_globals([*_safe_types()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as broken:  # UnpicklingError, RuntimeError, EOFError or KeyError, as the file is broken
        raise RecipeError(
            f"{where}: {path} contains no state dict that can be read without running code: "
            f"{str(broken).splitlines()[0] if str(broken) else type(broken).__name__}",
            remedy="Save it again where it was trained: torch.save(model.state_dict(), 'weights.pth').",
        ) from broken
    state = _state_dict_in(content)
    if state is None:
        kind = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content)
        raise RecipeError(
            f"{where}: {path} contains no state dict, only {kind}",
            remedy=f"Save the state dict alone, or under one of these keys: {', '.join(WRAPPERS)}.",
        )
    return state


def _safe_types() -> list[Callable[..., object]]:
    """Types that a checkpoint may contain besides tensors and built-in types.

    They are parsed command lines and numpy's numbers, which many training scripts store beside the weights.
    Loading them runs no code.
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
        state = _state_dict_in(content.get(wrapper))
        if state is not None:
            return state
    return None


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while state:
        prefix = next((known for known in PREFIXES if all(name.startswith(known) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def fill(
    backbone: nn.Module, state: Mapping[str, Tensor], source: str, excluded: Collection[str] = ()
) -> None:
    """Copy a state dict into a network; every key and shape must match.

    Args:
        backbone: changed only if everything fits.
        state: by the network's names.
        source: the recipe's key and the file, for messages.
        excluded: names that keep their current values; the state's are ignored.

    Raises:
        RecipeError: keys or shapes differ (all differences are listed), or a tensor contains integers
            instead of floats, or numbers that are not finite.
    """
    current = backbone.state_dict()
    state = {name: tensor for name, tensor in state.items() if name not in excluded}
    expected = {name: tuple(tensor.shape) for name, tensor in current.items() if name not in excluded}
    absent_counts = {name for name in expected.keys() - state.keys() if name.endswith(_UNUSED_COUNT)}
    if absent_counts:
        log.info("%s: %d counts of batches are absent; they are not used", source, len(absent_counts))
    provided = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: shape for name, shape in expected.items() if name not in absent_counts}
    if expected != provided:
        differences = [f"missing {name}" for name in sorted(expected.keys() - provided.keys())]
        differences += [f"surplus {name}" for name in sorted(provided.keys() - expected.keys())]
        differences += [
            f"{name} is {list(provided[name])} instead of {list(expected[name])}"
            for name in sorted(expected.keys() & provided.keys())
            if expected[name] != provided[name]
        ]
        raise RecipeError(
            f"{source} does not fit the model: {'; '.join(differences)}",
            remedy="Name the architecture, width and classes that the weights were trained with.",
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() != current[name].is_floating_point():
            raise RecipeError(
                f"{source}: {name} contains {tensor.dtype}, but the model needs {current[name].dtype}",
                remedy="Name the weights from before quantization.",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise RecipeError(
                f"{source}: {name} contains numbers that are not finite",
                remedy="That training diverged: name an earlier checkpoint.",
            )
    backbone.load_state_dict({**current, **state})
