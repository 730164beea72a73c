"""Outputs of a model for labelled images, and their file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calkd_edge.records.base import FloatArray, IntArray


@dataclass(frozen=True)
class Predictions:
    """Outputs of a model for labelled images, one row per image.

    Attributes:
        logits: [N, C] float32, raw scores as the model returned them.
        labels: [N] int64.
        indices: [N] int64, position of each image in the prepared data; models are compared on equal ones.
        probabilities: [N, C] float32 as the model returned them, or None when only logits were kept.
    """

    logits: FloatArray
    labels: IntArray
    indices: IntArray
    probabilities: FloatArray | None = None

    def save(self, path: Path) -> None:
        """Write an uncompressed .npz; `probabilities` is left out when None."""
        arrays = {"logits": self.logits, "labels": self.labels, "indices": self.indices}
        if self.probabilities is not None:
            arrays["probabilities"] = self.probabilities
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub wants a bool for every keyword

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            probabilities = stored.get("probabilities")
            return cls(stored["logits"], stored["labels"], stored["indices"], probabilities)
