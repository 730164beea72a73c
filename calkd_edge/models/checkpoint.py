"""Weights from other trainings: reading their files safely, and copying them into a network.

In scope: safetensors and pickled state dicts, their common wrappers and prefixes, a report of every key that
differs. Out of scope: where files come from, what a network was trained on.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from calkd_edge.errors import RecipeError
from calkd_edge.files import recognised
from calkd_edge.models.checkpoint_tensors import check_tensors
from calkd_edge.models.same_order import in_order

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "model_state", "weights")
"""Keys under which training scripts store the state dict beside epoch, optimizer and so on."""

AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema", "model_ema_state_dict")
"""Keys under which they store moving averages of the same weights."""

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""Prefixes that DataParallel, torch.compile and our ImageModel add to every name."""

WRAPPER_COUNTS = ("n_averaged",)
"""What torch's AveragedModel stores beside the weights."""

_SHOWN = 5
_DEEPEST = 4
"""Wrappers within wrappers, at most."""
_AVERAGED = re.compile(r"ema|averag|swa", re.IGNORECASE)
"""In the prefix of weights that were averaged while training, which stand beside the plain ones."""

_UNUSED_COUNT = "num_batches_tracked"
"""Absent from checkpoints older than torch 0.4.1; unused where momentum is a number."""

_TRAINING_ONLY = ("aux1.", "aux2.", "AuxLogits.")
"""Auxiliary heads of GoogLeNet and Inception, which torchvision publishes and we do not build."""


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
    other = recognised(path)
    if other is not None:
        raise RecipeError(f"{where}: {path} is {other.what}, not a checkpoint", remedy=other.remedy)
    state = _read_safetensors(path, where) if path.suffix == ".safetensors" else _read_pickle(path, where)
    check_tensors(state, path, where)
    state = _unprefixed(state, path)
    return {
        name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in state.items()
    }


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as broken:  # safetensors raises its own classes, without a common base
        raise RecipeError(
            f"{where}: {path} is not a whole safetensors file: {broken}",
            remedy="Download or copy it again; if it has another format, convert it: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors').",
        ) from broken


def _read_pickle(path: Path, where: str) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([*_safe_types()]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about forms that are refused or harmless
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as broken:  # UnpicklingError, RuntimeError, EOFError or KeyError, as the file is broken
        raise RecipeError(
            f"{where}: {path} contains no state dict that can be read without running code: "
            f"{_reason(broken)}",
            remedy="Download or copy it again, or save it again where it was trained: "
            "torch.save(model.state_dict(), 'weights.pth').",
        ) from broken
    state = _state_dict_in(content)
    if state is not None and isinstance(content, Mapping):
        averages = [key for key in AVERAGES if _state_dict_in(content.get(key)) is not None]
        if averages:
            log.warning(
                "%s: %s contains averaged weights too (%s); the plain ones are read. To read the averages, "
                "save them alone: torch.save(content[%r], 'averages.pth')",
                where, path, ", ".join(averages), averages[0],
            )  # fmt: skip
    if state is None:
        kind = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content)
        raise RecipeError(
            f"{where}: {path} contains no state dict, only {kind}",
            remedy=f"Save the state dict alone, or under one of these keys: {', '.join(WRAPPERS)}.",
        )
    return state


def _reason(broken: Exception) -> str:
    """What torch found, without its advice to run the file's code."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(broken))
    asked = re.search(r"GLOBAL (\S+) was not an allowed global", text)
    if asked:
        return f"it needs the code of {asked[1]}"
    if "central directory" in text:
        return "its end is missing"
    first = text.partition("\n")[0]
    return type(broken).__name__ if "weights_only" in first or not first else first


def _safe_types() -> list[Callable[..., object]]:
    """Types that a checkpoint may contain besides tensors and built-in types.

    They are parsed command lines and numpy's numbers, which many training scripts store beside the weights.
    Loading them runs no code.
    """
    scalar: Any = np.float64(0).__reduce__()[0]  # its module's name differs between numpy 1 and 2
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    return [argparse.Namespace, np.dtype, scalar, *kinds]


def _state_dict_in(content: object, depth: int = 0) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    for wrapper in WRAPPERS:
        state = _state_dict_in(content.get(wrapper), depth + 1)
        if state is not None:
            return state
    return None


def _unprefixed(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Without the prefixes that wrappers of a whole network add, and without what they count beside it."""
    counts = {name for name in state if name in WRAPPER_COUNTS}
    state = {name: tensor for name, tensor in state.items() if name not in counts}
    while state:
        prefix = next((known for known in PREFIXES if all(name.startswith(known) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if counts:
        log.warning("%s: weights that were averaged while training are read", path)
    return state


def _of_network(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], source: str
) -> Mapping[str, Tensor]:
    """The part of a state dict that belongs to the network: a training keeps it behind a prefix of its own.

    Args:
        state: by the names in the file.
        network: by the network's names.
        source: the recipe's key and the file, for messages.

    Raises:
        RecipeError: it holds the network behind several prefixes, none of which is of averages.
    """
    if not network or network.keys() & state.keys():
        return state
    longest = max(network, key=len)
    prefixes = {name.removesuffix(longest) for name in state if name.endswith(f".{longest}")}
    parts = {
        prefix: {
            name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)
        }
        for prefix in sorted(prefixes, key=lambda prefix: (len(prefix), prefix))
    }
    whole = [prefix for prefix, part in parts.items() if len(network.keys() & part.keys()) * 2 > len(network)]
    plain = [prefix for prefix in whole if not _AVERAGED.search(prefix)]
    if len(plain) > 1:
        raise RecipeError(
            f"{source} holds this network several times, behind {' and '.join(map(repr, plain))}",
            remedy=f"Save the one alone: torch.save({{n.removeprefix({plain[0]!r}): w "
            f"for n, w in state.items() if n.startswith({plain[0]!r})}}, 'weights.pth').",
        )
    if not whole:
        return state
    prefix = (plain or whole)[0]
    others = len(state) - len(parts[prefix])
    left = f"; {others} other tensors are left out" if others else ""
    log.warning("%s: the weights behind '%s' are read%s", source, prefix, left)
    return parts[prefix]


def _differences(expected: Mapping[str, tuple[int, ...]], provided: Mapping[str, tuple[int, ...]]) -> str:
    """What differs between two sets of names and shapes: numbers, and the first few of each kind."""
    missing, surplus = sorted(expected.keys() - provided.keys()), sorted(provided.keys() - expected.keys())
    shapes = [
        f"{name} is {list(provided[name])} instead of {list(expected[name])}"
        for name in sorted(expected.keys() & provided.keys())
        if expected[name] != provided[name]
    ]
    kinds = {
        "missing": missing,
        "surplus": surplus,
        "of another shape": shapes,
    }
    return "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for kind, names in kinds.items()
        if names
    )


def fill(
    backbone: nn.Module, state: Mapping[str, Tensor], source: str, excluded: Collection[str] = ()
) -> None:
    """Copy a state dict into a network; every key and shape must match.

    Args:
        backbone: changed only if everything fits.
        state: by the network's names; auxiliary heads that only torchvision's trainings use are left out.
        source: the recipe's key and the file, for messages.
        excluded: names that keep their current values; the state's are ignored.

    Raises:
        RecipeError: keys or shapes differ, or a tensor contains integers instead of floats, or numbers that
            are not finite.
    """
    current = backbone.state_dict()
    state = {
        name: tensor
        for name, tensor in _of_network(state, current, source).items()
        if name in current or not name.startswith(_TRAINING_ONLY)
    }
    if excluded:
        state = in_order(state, current, excluded, source)
    state = {name: tensor for name, tensor in state.items() if name not in excluded}
    expected = {name: tuple(tensor.shape) for name, tensor in current.items() if name not in excluded}
    absent_counts = {name for name in expected.keys() - state.keys() if name.endswith(_UNUSED_COUNT)}
    if absent_counts:
        log.info("%s: %d counts of batches are absent; they are not used", source, len(absent_counts))
    provided = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: shape for name, shape in expected.items() if name not in absent_counts}
    if expected != provided:
        raise RecipeError(
            f"{source} does not fit the model: {_differences(expected, provided)}",
            remedy="Name the architecture, width and classes that the weights were trained with, and for a "
            "transformer their image size (data.image_size).",
        )
    counts = {name: tensor.long() for name, tensor in state.items() if name.endswith(_UNUSED_COUNT)}
    state = {**state, **counts}  # a count that was halved with the weights is a number still
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
