"""What a report shows beside its figures: trainings by epoch, coverage curves, and images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record
from calkd_edge.records.quality import AtThreshold


class Epoch(Record):
    """One epoch of a training: the loss on training images, top-1 and NLL on calibration images."""

    epoch: int = Field(description="from 0")
    loss: float | None
    top1: float | None
    nll: float | None


class CoverageCurve(Record):
    """What a file takes and how much of that is right, at thresholds that take ever more test images."""

    measurement: str
    points: tuple[AtThreshold, ...]


class Picture(Record):
    """One test image with the answer of a file, and of a second one where two are compared."""

    index: int = Field(description="position in the prepared data")
    label: int
    answer: int
    confidence: float
    other_answer: int | None = None
    other_confidence: float | None = None
    difference: float | None = Field(None, description="largest difference of any probability")
    image: str = Field(description="a data URI of a small copy", pattern=r"^data:image/(png|jpeg);base64,")


class Pictures(Record):
    """Test images of one kind, the most telling first."""

    kind: Literal["confident_errors", "disagreement"]
    measurement: str
    other: str | None = Field(None, description="the measurement that is compared with")
    pictures: tuple[Picture, ...]
