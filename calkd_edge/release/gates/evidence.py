"""What gates judge: measurements with what the model said image by image, and who is compared with whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calkd_edge.metrics import per_image as scores
from calkd_edge.records import BoolArray, FloatArray, IntArray, Measurement, Predictions


@dataclass(frozen=True)
class Evidence:
    """One measurement and its raw material.

    Attributes:
        measurement: the figures.
        predictions: what the measured file said on the test split; None where nothing was predicted.
    """

    measurement: Measurement
    predictions: Predictions | None = None


class Pair(NamedTuple):
    """Two models on the images both have seen, row by row."""

    own: FloatArray
    reference: FloatArray
    labels: IntArray
    own_probabilities: FloatArray | None
    reference_probabilities: FloatArray | None


def labels_of(measurements: Sequence[Measurement]) -> list[str]:
    """A name for each that no other carries: the runtime is added where a device has several."""
    runtimes: dict[str, set[str]] = {}
    for one in measurements:
        runtimes.setdefault(one.device, set()).add(one.runtime)
    return [
        one.label if len(runtimes[one.device]) == 1 else f"{one.label}:{one.runtime}" for one in measurements
    ]


def same_student_in_fp32(own: Evidence, peers: Iterable[Evidence]) -> Evidence | None:
    """The calibrated fp32 file of the same model on the same device and runtime."""
    m = own.measurement
    return next(
        (
            peer
            for peer in peers
            if (peer.measurement.model, peer.measurement.precision, peer.measurement.calibrated)
            == (m.model, "fp32", True)
            and (peer.measurement.device, peer.measurement.runtime) == (m.device, m.runtime)
        ),
        None,
    )


def uncalibrated(own: Evidence, peers: Iterable[Evidence]) -> Predictions | None:
    """What the same file said before its calibration."""
    m = own.measurement
    place = (m.model, m.precision, m.device, m.runtime)
    return next(
        (
            peer.predictions
            for peer in peers
            if not peer.measurement.calibrated
            and (
                peer.measurement.model,
                peer.measurement.precision,
                peer.measurement.device,
                peer.measurement.runtime,
            )
            == place
        ),
        None,
    )


def its_teacher(own: Evidence, peers: Iterable[Evidence]) -> Evidence | None:
    """The calibrated teacher, on the same device where it was measured there, else wherever it was."""
    place = (own.measurement.device, own.measurement.runtime)
    teachers = [
        peer
        for peer in peers
        if peer.measurement.model == "teacher"
        and peer.measurement.calibrated
        and peer.predictions is not None
    ]
    return min(teachers, key=lambda t: (t.measurement.device, t.measurement.runtime) != place, default=None)


def taken(pair: Pair, threshold: float) -> tuple[BoolArray, BoolArray]:
    """Which images each model takes: its own probabilities are asked, as a user's threshold would."""

    def confident(logits: FloatArray, probabilities: FloatArray | None) -> BoolArray:
        top = scores.confidence(logits) if probabilities is None else probabilities.max(axis=1)
        return np.asarray(top >= threshold, dtype=np.bool_)

    return (
        confident(pair.own, pair.own_probabilities),
        confident(pair.reference, pair.reference_probabilities),
    )


def paired(own: Predictions, reference: Predictions) -> Pair | None:
    """Both on their common images, None when there are none or when an image has two different labels."""
    _, left, right = np.intersect1d(own.indices, reference.indices, return_indices=True)
    if len(left) == 0 or not np.array_equal(own.labels[left], reference.labels[right]):
        return None

    def rows(values: FloatArray | None, chosen: NDArray[Any]) -> FloatArray | None:
        return None if values is None else values[chosen]

    return Pair(
        own.logits[left],
        reference.logits[right],
        own.labels[left],
        rows(own.probabilities, left),
        rows(reference.probabilities, right),
    )
