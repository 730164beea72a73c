"""Figures of a file on other images than those of the data: corrupted ones, and such of no class."""

from __future__ import annotations

from pydantic import Field

from calkd_edge.records.base import Record
from calkd_edge.records.quality import AtThreshold, Estimate


class Corrupted(Record):
    """Figures of a file on images with one corruption; severity 1 to 3, or `none` and 0."""

    corruption: str
    severity: int
    images: int
    top1: Estimate
    nll: Estimate
    ece: Estimate
    mean_confidence: float
    thresholds: tuple[AtThreshold, ...]


class OutOfDistribution(Record):
    """A file on the same images under every corruption; the first row is without corruption."""

    measurement: str
    rows: tuple[Corrupted, ...]


class Reached(Record):
    """The share of unknown images that reach a threshold on confidence; each such answer is wrong."""

    threshold: float
    share: Estimate


class Unknown(Record):
    """How confident a file is on images that show none of its classes."""

    measurement: str
    source: str = Field(description="the data set's name and what it is")
    images: int
    left_out: int = Field(description="images of the set that are images of the data too, pixel by pixel")
    shared_classes: tuple[str, ...] = Field(description="classes that the set and the data both name")
    mean_confidence: float
    auroc: float | None = Field(
        description="probability that a test image is more confident than an unknown one"
    )
    thresholds: tuple[Reached, ...]
