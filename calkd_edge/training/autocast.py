"""Autocast of the forward pass as a precision of Lightning Fabric."""

from __future__ import annotations

from typing import Literal

from lightning_fabric.plugins.precision import MixedPrecision

_PRECISIONS: dict[str, Literal["bf16-mixed", "16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}


class Autocast(MixedPrecision):
    """Autocast around the forward pass; a batch keeps its types, so stored logits are not rounded.

    Args:
        dtype: bf16 or fp16.
        device: cpu or cuda.
    """

    def __init__(self, dtype: str, device: str) -> None:
        super().__init__(_PRECISIONS[dtype], device)

    def convert_input(self, data: object) -> object:
        """The batch, unchanged."""
        return data
