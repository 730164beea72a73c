"""A calibration: its map, its fit, and the proof that the file contains it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from calkd_edge.records.base import FloatArray, Record

FitStatus = Literal["ok", "separable", "anti", "flat", "extreme", "constant"]

AffineKind = Literal["temperature", "bias", "vector", "matrix"]
"""temperature: one scale. bias: one scale, and numbers that are added. vector: a scale for each class, and
numbers that are added. matrix: C x C scales, and numbers that are added."""


class Affine(Record):
    """A map of logits: calibrated logits = logits * scale + bias (or logits @ scale.T + bias for a matrix).

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
        scale, bias, classes = np.asarray(self.scale), np.asarray(self.bias), values.shape[1]
        if self.kind(classes) == "matrix":
            result: FloatArray = values @ self.matrix(classes).T + bias
        else:
            result = values * scale + bias
        return result

    def undo(self, calibrated: FloatArray) -> FloatArray:
        """The logits that `apply` turns into `calibrated`, float64 [N, C]."""
        values = np.asarray(calibrated, dtype=np.float64) - np.asarray(self.bias)
        if self.kind(values.shape[1]) == "matrix":
            result: FloatArray = np.linalg.solve(self.matrix(values.shape[1]), values.T).T
        else:
            result = values / np.asarray(self.scale)
        return result

    def kind(self, classes: int) -> AffineKind:
        """What the map is for logits of `classes` classes: this decides where it can be folded exactly."""
        if len(self.scale) > 1:
            return "matrix" if len(self.scale) == classes**2 else "vector"
        return "bias" if any(self.bias) else "temperature"

    def matrix(self, classes: int) -> FloatArray:
        """The linear part as float64 [C, C]: calibrated = logits @ matrix.T + bias, whatever the kind."""
        scale = np.array(self.scale, dtype=np.float64)
        if self.kind(classes) == "matrix":
            return scale.reshape(classes, classes)
        return np.diag(np.broadcast_to(scale, (classes,)))


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
