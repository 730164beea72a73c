"""A calibration: its map, its fit, and the proof that the file contains it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from calkd_edge.records.base import FloatArray, Record

FitStatus = Literal["ok", "separable", "anti", "flat", "extreme", "constant"]


class Affine(Record):
    """A calibration: calibrated logits = logits * scale + bias (or logits @ scale.T + bias for a matrix).

    `scale` has length 1 (a temperature, 1/T), C (a vector) or C*C (a matrix, row-major); `bias` has length 1
    or C.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...] = (0.0,)

    @property
    def is_identity(self) -> bool:
        """Whether applying it changes nothing."""
        return self.temperature == 1.0

    @property
    def temperature(self) -> float | None:
        """T when the map is a temperature alone, None otherwise."""
        plain = len(self.scale) == 1 and all(b == 0.0 for b in self.bias) and self.scale[0] > 0
        return 1.0 / self.scale[0] if plain else None

    def apply(self, logits: FloatArray) -> FloatArray:
        """Calibrated logits, float64 [N, C], for logits [N, C]."""
        values = np.asarray(logits, dtype=np.float64)
        scale, bias = np.asarray(self.scale), np.asarray(self.bias)
        result: FloatArray = (
            values * scale + bias if not self._is_matrix(values) else values @ self._matrix + bias
        )
        return result

    def undo(self, calibrated: FloatArray) -> FloatArray:
        """The logits that `apply` turns into `calibrated`, float64 [N, C]."""
        values = np.asarray(calibrated, dtype=np.float64) - np.asarray(self.bias)
        if self._is_matrix(values):
            result: FloatArray = np.linalg.solve(self._matrix.T, values.T).T
        else:
            result = values / np.asarray(self.scale)
        return result

    def _is_matrix(self, values: FloatArray) -> bool:
        return len(self.scale) > 1 and len(self.scale) == values.shape[1] ** 2

    @property
    def _matrix(self) -> FloatArray:
        """[C, C], to be multiplied from the right."""
        size = math.isqrt(len(self.scale))
        return np.array(self.scale, dtype=np.float64).reshape(size, size).T


class FoldProof(Record):
    """Differences between the folded file and the affine applied by hand, on real images."""

    images: int
    max_logit_difference: float
    tolerance: float
    max_probability_difference: float
    argmax_changes: int
    near_ties: int


class Calibration(Record):
    """How a model's confidence was calibrated: the fitted affine and the images it was fitted on.

    `status` other than ok (or constant, where nothing was fitted) means that `scale` and `bias` are the
    identity.
    `se` is the standard error of T (temperature) or of each scale (vector); None where nothing was fitted.
    The NLL is of the images it was fitted to; None where they had no labels.
    `fold` states how it entered the file, `fold_reason` why it was not folded; `proof` holds the largest
    difference from dividing by hand.
    """

    method: str
    scale: tuple[float, ...]
    bias: tuple[float, ...]
    temperature: float | None
    se: tuple[float, ...] | None
    status: FitStatus
    split: str
    images: int
    nll_before: float | None
    nll_after: float | None
    warnings: tuple[str, ...] = ()
    fold: Literal["folded", "nodes_appended", "none"] = "none"
    fold_reason: str | None = None
    proof: FoldProof | None = None

    @property
    def affine(self) -> Affine:
        """The map as an affine."""
        return Affine(scale=self.scale, bias=self.bias)
