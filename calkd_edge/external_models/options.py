"""What a calibration of a classifier made elsewhere is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.crossfit import FOLDS
from calkd_edge.calibration.fitted import Fitted
from calkd_edge.records import FloatArray, IntArray, Json


class Fit(Protocol):
    """Fits a map to logits [N, C] and labels [N]."""

    def __call__(self, logits: FloatArray, labels: IntArray) -> Fitted:
        """The fitted map."""


@dataclass(frozen=True)
class RepairOptions:
    """What to fit and how to score it.

    Attributes:
        method: a calibrator's name.
        settings: of that calibrator.
        thresholds: on confidence.
        folds: of cross-fitting.
        seed: of every draw.
    """

    method: str = "temperature"
    settings: Mapping[str, Json] = field(default_factory=dict)
    thresholds: tuple[float, ...] = (0.5, 0.8, 0.9)
    folds: int = FOLDS
    seed: int = 17

    def fit(self, classes: tuple[str, ...]) -> Fit:
        """The calibrator for these classes."""
        settings = CALIBRATORS.settings(self.method, dict(self.settings), where="--method")
        calibrator = CALIBRATORS.load(self.method, where="--method")

        def fit(logits: FloatArray, labels: IntArray) -> Fitted:
            fitted: Fitted = calibrator(logits, labels, classes, **settings)
            return fitted

        return fit
