"""scores.npz: answers and losses of every released file on each test image.

With it a verdict can be taken again without measuring, and the next release be compared image by image.

In scope: its content, writing, reading. Out of scope: judging; where the file lies.

images/index     [M] int64   position in the prepared data
images/label     [M] int64   among the report's classes
images/pixels    [M] uint64  a digest of the image as the models see it
K/row            [N] int64   rows of the images above, for measurement K of the report
K/answer         [N] int64
K/confidence, K/nll, K/brier [N] float32
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calkd_edge.files.arrays import Array, read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.npz import npz_bytes
from calkd_edge.records import IntArray, Report
from calkd_edge.release.contents import SCORES
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.image_scores import ImageScores
from calkd_edge.release.score_figures import contradictions

MOST_SCORES_BYTES = 1 << 30
"""Of the file inside a bundle."""

_FLOATS = ("confidence", "nll", "brier")
Pixels = NDArray[np.uint64]


class Images(Protocol):
    """Images by row, uint8 [N, 3, H, W]."""

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """The images of some rows."""


@dataclass(frozen=True)
class KeptScores:
    """The content of a scores.npz.

    Attributes:
        indices: [M], position of each test image in the prepared data.
        labels: [M], among the report's classes.
        pixels: [M], a digest of each image.
        by_measurement: the scores of a measurement, by its position in the report.
    """

    indices: IntArray
    labels: IntArray
    pixels: Pixels
    by_measurement: Mapping[int, ImageScores]


def kept_scores(evidence: Sequence[Evidence], images: Images) -> KeptScores:
    """The scores of what is released and calibrated.

    Args:
        evidence: all measurements, in the report's order.
        images: the prepared data's; those that were predicted are read.
    """
    scored = {
        position: item.scores
        for position, item in enumerate(evidence)
        if item.measurement.calibrated and item.measurement.is_released and item.scores is not None
    }
    labels: dict[int, int] = {}
    for scores in scored.values():
        labels.update(zip(scores.indices.tolist(), scores.labels.tolist(), strict=True))
    indices = np.array(sorted(labels), dtype=np.int64)
    return KeptScores(
        indices, np.array([labels[i] for i in indices.tolist()], np.int64), digests(images, indices), scored
    )


def digests(images: Images, indices: IntArray) -> Pixels:
    """A digest of each image's shape and pixels, [M]."""
    values = np.empty(len(indices), np.uint64)
    for position, index in enumerate(indices):
        image = np.ascontiguousarray(images[index])
        text = hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=8)
        values[position] = int.from_bytes(text.digest(), "big")
    return values


def to_bytes(scores: KeptScores) -> bytes:
    """The file's content; equal scores give equal bytes."""
    arrays: dict[str, Array] = {
        "images/index": scores.indices,
        "images/label": scores.labels,
        "images/pixels": scores.pixels,
    }
    for key, row in scores.by_measurement.items():
        arrays[f"{key}/row"] = np.searchsorted(scores.indices, row.indices).astype(np.int64)
        arrays[f"{key}/answer"] = row.answers
        arrays |= {f"{key}/{name}": getattr(row, name) for name in _FLOATS}
    return npz_bytes(arrays, deflated=True)


def read_scores(source: Path | bytes, report: Report) -> KeptScores:
    """The content of a scores.npz that belongs to a report.

    Raises:
        Unreadable: it is no such file, or it contradicts the report.
        OSError: there is no such file.
    """
    arrays = read_arrays(source)
    try:
        indices, labels, pixels = (arrays[f"images/{name}"] for name in ("index", "label", "pixels"))
        _check(indices, labels, pixels, kinds="iiu")
        if not bool((np.diff(np.asarray(indices, np.int64)) > 0).all()):
            raise ValueError("its images are not in ascending order, each once")
        keys = sorted({int(name.partition("/")[0]) for name in arrays if not name.startswith("images/")})
        by_measurement = {key: _scores_of(arrays, key, indices, labels) for key in keys}
        _check_classes([labels, *(scores.answers for scores in by_measurement.values())], report)
    except (KeyError, ValueError, IndexError) as wrong:
        raise Unreadable(f"{SCORES} holds no scores of a release: {wrong}") from wrong
    if contradiction := next(contradictions(by_measurement, report), None):
        raise Unreadable(f"{SCORES} {contradiction}")
    return KeptScores(indices, labels, pixels, by_measurement)  # type: ignore[arg-type]


def _check(*columns: Array, kinds: str) -> None:
    lengths = {column.shape for column in columns}
    if len(lengths) != 1 or columns[0].ndim != 1 or not len(columns[0]):
        raise ValueError("its columns are not of one length")
    if any(column.dtype.kind != kind for column, kind in zip(columns, kinds, strict=True)):
        raise ValueError("its columns are of other types")


def _check_classes(columns: Sequence[Array], report: Report) -> None:
    classes = report.data.get("classes")
    most = len(classes) if isinstance(classes, list) else 0
    if any(int(column.min()) < 0 or int(column.max()) >= most for column in columns):
        raise ValueError("it names classes that the report lacks")


def _scores_of(arrays: Mapping[str, Array], key: int, indices: Array, labels: Array) -> ImageScores:
    rows, answers = arrays[f"{key}/row"], arrays[f"{key}/answer"]
    floats = [arrays[f"{key}/{name}"] for name in _FLOATS]
    _check(rows, answers, *floats, kinds="iifff")
    positions = np.unique(np.asarray(rows, np.int64))
    if (
        len(positions) != len(rows)
        or positions[0] < 0
        or not all(np.isfinite(column).all() for column in floats)
    ):
        raise ValueError(f"measurement {key} has numbers that are none of a score")
    return ImageScores(indices[rows], labels[rows], answers, *floats)  # type: ignore[arg-type]
