"""What came of measuring or repairing a classifier that was made elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Json, Record
from calkd_edge.records.calibration import Calibration
from calkd_edge.records.quality import Estimate, Quality


class FileEnd(Record):
    """How a file ends: where its logits are, what its scores are, and how many softmaxes lie between."""

    logits: str
    scores: str
    kind: Literal["logits", "softmax", "log_softmax", "probabilities"]
    softmaxes: int


class RepairedFile(Record):
    """A calibrated file that was written."""

    name: str
    sha256: str
    size_bytes: int


class Repair(Record):
    """Confidence before and after, image by image out of the fit's sight.

    `before` and `after` are of the same images; `after` is cross-fitted: each image is judged by a map fitted
    to the other folds. `calibration` is fitted to all of them and is what a written file holds. Without
    labels there is nothing to measure but confidence itself.
    """

    schema_version: Literal[1] = 1
    source: str
    sha256: str | None
    data: str
    images: int
    classes: tuple[str, ...]
    settings: dict[str, Json]
    folds: int
    end: FileEnd | None
    before: Quality | None
    after: Quality | None
    nll_change: Estimate | None = Field(description="after - before, same images")
    brier_change: Estimate | None = Field(description="after - before, same images")
    top1_change: Estimate | None = Field(description="after - before, same images")
    mean_confidence_before: float
    mean_confidence_after: float
    calibration: Calibration
    file: RepairedFile | None
    sentences: tuple[str, ...]
