"""Autocast of the forward pass as a precision of Lightning Fabric."""

from __future__ import annotations

from typing import Any, Literal

from lightning_fabric.plugins.precision import MixedPrecision

_PRECISIONS: dict[str, Literal["bf16-mixed", "16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}


class Autocast(MixedPrecision):
    """Autocast around the forward pass; a batch keeps its types, so stored logits are not rounded.

    Args:
        dtype: bf16 or fp16.
        device: cpu or cuda.

    Attributes:
        has_skipped: whether the last step changed no weight, because a float16 gradient was not finite; the
            scaler then lowers its scale. The same on every process, as all have the same gradients.
    """

    def __init__(self, dtype: str, device: str) -> None:
        super().__init__(_PRECISIONS[dtype], device)
        self.has_skipped = False

    def convert_input(self, data: object) -> object:
        """The batch, unchanged."""
        return data

    def optimizer_step(self, optimizer: Any, **arguments: Any) -> Any:
        """A step of the optimizer, which the scaler leaves out where gradients are not finite."""
        if self.scaler is None:
            return super().optimizer_step(optimizer, **arguments)
        before = self.scaler.get_scale()
        result = super().optimizer_step(optimizer, **arguments)
        self.has_skipped = self.scaler.get_scale() < before
        return result
