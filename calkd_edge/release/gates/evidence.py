"""What gates judge: measurements with their predictions, and which model is compared with which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.inputs import reaches
from calkd_edge.records import (
    BoolArray,
    Corrupted,
    FloatArray,
    IntArray,
    Measurement,
    Predictions,
    Unknown,
)
from calkd_edge.release.gates.image_scores import ImageScores


@dataclass(frozen=True)
class DataFaults:
    """What is wrong with the images behind a measurement, as shares.

    Attributes:
        test_in_train: of the test images, those that are training or calibration images too, pixel by pixel.
        conflicting_labels: of all images, different pictures that stand under two labels or more.
        copies_in_test: of the test images, those that are copies of another one, pixel by pixel.
    """

    test_in_train: float
    conflicting_labels: float
    copies_in_test: float = 0.0


@dataclass(frozen=True)
class Earlier:
    """The same file in an earlier release.

    Attributes:
        measurement: its figures then.
        scores: of the images that both releases were tested on, each once, under this release's indices and
            labels; None where the two are compared as independent samples.
        other_conditions: why its times cannot be compared with those of today; empty where they can.
        other_task: why its answers cannot be compared at all; empty where they can.
        unpaired: why there are no scores; empty where there are.
        distinct: different images that this release was tested on, copies counted once.
    """

    measurement: Measurement
    scores: ImageScores | None = None
    other_conditions: str = ""
    other_task: str = ""
    unpaired: str = ""
    distinct: int = 0


@dataclass(frozen=True)
class Evidence:
    """One measurement and its raw material.

    Attributes:
        measurement: the figures.
        predictions: outputs of the measured file on the test split; None where nothing was predicted, or
            where the evidence was read from a release.
        data: faults of the images; None where they are not known.
        classes: names of the classes; empty where they are not known.
        kept: scores that a release kept instead of the predictions.
        earlier: the same file in the release that this one is compared with; None where it has none.
        corrupted: its figures on corrupted test images, those without corruption first; empty where it was
            not measured on them.
        unknown: its confidence on images of no class; None where it was not measured on any.
    """

    measurement: Measurement
    predictions: Predictions | None = None
    data: DataFaults | None = None
    classes: tuple[str, ...] = ()
    kept: ImageScores | None = None
    earlier: Earlier | None = None
    corrupted: tuple[Corrupted, ...] = ()
    unknown: Unknown | None = None

    @cached_property
    def scores(self) -> ImageScores | None:
        """Answers and losses of each test image; None where nothing was predicted."""
        return self.kept if self.predictions is None else ImageScores.of(self.predictions)


class PairedPredictions(NamedTuple):
    """Logits of two models on their common images, row by row; probabilities where they were kept."""

    candidate: FloatArray
    reference: FloatArray
    labels: IntArray
    candidate_probabilities: FloatArray | None
    reference_probabilities: FloatArray | None


def labels_of(measurements: Sequence[Measurement]) -> list[str]:
    """A unique name for each measurement: the runtime is added where a device has several."""
    runtimes: dict[str, set[str]] = {}
    for m in measurements:
        runtimes.setdefault(m.device, set()).add(m.runtime)
    return [m.label if len(runtimes[m.device]) == 1 else f"{m.label}:{m.runtime}" for m in measurements]


def file_key(measurement: Measurement) -> tuple[str, str, str, str]:
    """Model, precision, device and runtime: equal for the calibrated and the uncalibrated row of a file."""
    return (measurement.model, measurement.precision, measurement.device, measurement.runtime)


def same_student_in_fp32(item: Evidence, peers: Iterable[Evidence]) -> Evidence | None:
    """The calibrated fp32 file of the same model on the same device and runtime."""
    m = item.measurement
    key = (m.model, "fp32", m.device, m.runtime)
    return next(
        (peer for peer in peers if peer.measurement.calibrated and file_key(peer.measurement) == key),
        None,
    )


def uncalibrated(item: Evidence, peers: Iterable[Evidence]) -> Predictions | None:
    """Predictions of the same file before its calibration."""
    key = file_key(item.measurement)
    return next(
        (
            peer.predictions
            for peer in peers
            if not peer.measurement.calibrated and file_key(peer.measurement) == key
        ),
        None,
    )


def teacher_of(item: Evidence, peers: Iterable[Evidence]) -> Evidence | None:
    """The calibrated teacher, on the same device and runtime where it was measured there, else on any."""
    address = (item.measurement.device, item.measurement.runtime)
    teachers = [
        peer
        for peer in peers
        if peer.measurement.model == "teacher" and peer.measurement.calibrated and peer.scores is not None
    ]
    return min(teachers, key=lambda t: (t.measurement.device, t.measurement.runtime) != address, default=None)


def images_above(pair: PairedPredictions, threshold: float) -> tuple[BoolArray, BoolArray]:
    """[N] for candidate and reference: whether an image's confidence reaches the threshold.

    The probabilities that the file returned are read where they exist, as an application would read them.
    """

    def confident(logits: FloatArray, probabilities: FloatArray | None) -> BoolArray:
        top = scores.confidence(logits) if probabilities is None else probabilities.max(axis=1)
        return reaches(top, threshold)

    return (
        confident(pair.candidate, pair.candidate_probabilities),
        confident(pair.reference, pair.reference_probabilities),
    )


def paired(candidate: Predictions, reference: Predictions) -> PairedPredictions | None:
    """Both on their common images; None when there are none or an image has two different labels."""
    _, left, right = np.intersect1d(candidate.indices, reference.indices, return_indices=True)
    if len(left) == 0 or not np.array_equal(candidate.labels[left], reference.labels[right]):
        return None

    def rows(values: FloatArray | None, chosen: IntArray) -> FloatArray | None:
        return None if values is None else values[chosen]

    return PairedPredictions(
        candidate.logits[left],
        reference.logits[right],
        candidate.labels[left],
        rows(candidate.probabilities, left),
        rows(reference.probabilities, right),
    )
