"""Whether the tensors of a checkpoint can be weights of a network here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from calkd_edge.errors import RecipeError

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
_REPEATS, _SMALL_BYTES = 4, 64 << 20
"""Weights that share memory count once in the file and several times in the state dict."""


def check_tensors(state: Mapping[str, Tensor], path: Path, where: str) -> None:
    """Refuse what is no weight of a network, and tensors that are larger than their file.

    Raises:
        RecipeError: naming the first of them.
    """
    total, most = 0, _REPEATS * path.stat().st_size + _SMALL_BYTES
    name: object  # as the file has it
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise RecipeError(
                f"{where}: {path} names a weight by {str(name)[:80]} ({type(name).__name__}), not by its "
                "path in the network",
                remedy="Save the network's state dict: torch.save(model.state_dict(), 'weights.pth').",
            )
        is_plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not is_plain or tensor.dtype not in _DTYPES:
            kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
            raise RecipeError(
                f"{where}: {path} has the weight {name[:80]!r} ({kind}), which no network here takes",
                remedy=_plain_form(tensor),
            )
        total += tensor.numel() * tensor.element_size()
        if total > most:
            raise RecipeError(
                f"{where}: {path} is smaller than the weights that it claims: {name[:80]!r} is "
                f"{list(tensor.shape)}",
                remedy="Save the state dict again where it was trained.",
            )


def _plain_form(tensor: Tensor) -> str:
    """How to save a weight that is not stored as plain numbers."""
    if tensor.device.type == "meta":
        return "Its values were not saved: save the state dict of the network with its values."
    if tensor.is_quantized:
        return "Save the weights from before the quantization, in float32."
    if tensor.layout != torch.strided:
        return "Save the weights dense: {name: weight.to_dense() for name, weight in state_dict.items()}."
    return "Save the weights in float32: torch.save(model.float().state_dict(), 'weights.pth')."
