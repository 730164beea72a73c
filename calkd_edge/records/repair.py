"""The result of measuring or calibrating a classifier that another tool made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Json, Record
from calkd_edge.records.calibration import Calibration
from calkd_edge.records.quality import Estimate, Quality


class FileEnd(Record):
    """How a file ends: its logits, its scores, and the number of softmaxes between them."""

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
    """Confidence before and after calibration, on images that the fit has not used.

    `before` and `after` are of the same images; `after` is cross-fitted: each image is judged by a map fitted
    to the other folds. `calibration` is fitted to all images and is what a written file contains. Without
    labels only confidence itself is measured.
    """

    schema_version: Literal[1] = 1
    source: str
    sha256: str | None = Field(description="of the file; with external data, of these too")
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
    assumed: dict[str, str] = Field(
        default_factory=dict, description="what was inferred about the file and the data"
    )
    cautions: tuple[str, ...] = Field(default=(), description="where what was inferred may be wrong")
