"""Which test images a report shows, as small copies: confident errors, and where int8 differs from fp32.

In scope: choosing and scaling. Out of scope: reading data sets, the page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calkd_edge.metrics import per_image as scores
from calkd_edge.records import FloatArray, IntArray, Picture, Pictures, Predictions, Recommendation
from calkd_edge.release.gates.evidence import Evidence, labels_of, same_student_in_fp32
from calkd_edge.release.report.headline import headline

SHOWN = 24
"""Images of each kind."""
LARGEST = 64
"""Pixels of the longer side of a small copy."""
AS_PNG = 40
"""Up to so many pixels a copy is a PNG, exact to the pixel; larger ones are JPEG."""

ReadImages = Callable[[IntArray], NDArray[np.uint8]]
"""Positions in the prepared data -> uint8 [n, 3, H, W]."""


def pictures(
    evidence: Sequence[Evidence], recommended: Sequence[Recommendation], images: ReadImages
) -> tuple[Pictures, ...]:
    """The images of the recommended file, or of the student's first; equal arguments give equal bytes.

    Args:
        evidence: all measurements.
        recommended: what ships where.
        images: reads images of the prepared data.
    """
    names = labels_of([item.measurement for item in evidence])
    name_of = {id(item): name for item, name in zip(evidence, names, strict=True)}
    chosen = headline([item.measurement for item in evidence], recommended)
    first = next((item for item in evidence if item.measurement is chosen), None)
    if first is None or first.predictions is None:
        return ()
    sets: list[Pictures | None] = [_errors(first.predictions, name_of[id(first)], images)]
    rounded = _rounded(first, evidence)
    fp32 = same_student_in_fp32(rounded, evidence) if rounded is not None else None
    if rounded is not None and fp32 is not None and fp32 is not rounded:
        sets.append(_disagreement(rounded, fp32, (name_of[id(rounded)], name_of[id(fp32)]), images))
    return tuple(group for group in sets if group is not None and group.pictures)


def _rounded(first: Evidence, evidence: Sequence[Evidence]) -> Evidence | None:
    """The first file where it is not fp32, else the student's int8 beside it, else another precision."""
    m = first.measurement
    if m.precision != "fp32":
        return first
    beside = [
        item
        for item in evidence
        if item.measurement.model == "student"
        and item.measurement.calibrated
        and item.measurement.precision != "fp32"
        and (item.measurement.device, item.measurement.runtime) == (m.device, m.runtime)
        and item.predictions is not None
    ]
    return min(beside, key=lambda item: not item.measurement.precision.startswith("int8"), default=None)


def _probabilities(predictions: Predictions) -> FloatArray:
    """[N, C] as the file returned them, else those of its logits."""
    if predictions.probabilities is not None:
        return predictions.probabilities
    return np.exp(scores.log_softmax(predictions.logits))


def _errors(predictions: Predictions, name: str, images: ReadImages) -> Pictures:
    p = _probabilities(predictions)
    answers = scores.top1(predictions.logits)
    confidence = np.where(answers == predictions.labels, -1.0, p.max(axis=1))
    rows = np.argsort(-confidence, kind="stable")[:SHOWN]
    rows = rows[confidence[rows] >= 0]
    copies = _copies(images, predictions.indices[rows])
    return Pictures(
        kind="confident_errors",
        measurement=name,
        pictures=tuple(
            Picture(
                index=int(predictions.indices[k]),
                label=int(predictions.labels[k]),
                answer=int(answers[k]),
                confidence=float(p[k].max()),
                image=copy,
            )
            for k, copy in zip(rows, copies, strict=True)
        ),
    )


def _disagreement(
    rounded: Evidence, fp32: Evidence, names: tuple[str, str], images: ReadImages
) -> Pictures | None:
    """Images whose probabilities differ most; None where the two files saw different images."""
    a, b = rounded.predictions, fp32.predictions
    if a is None or b is None or not np.array_equal(a.indices, b.indices):
        return None
    p, q = _probabilities(a), _probabilities(b)
    difference = np.abs(p - q).max(axis=1)
    rows = np.argsort(-difference, kind="stable")[:SHOWN]
    rows = rows[difference[rows] > 0]
    answers, others = scores.top1(a.logits), scores.top1(b.logits)
    copies = _copies(images, a.indices[rows])
    return Pictures(
        kind="disagreement",
        measurement=names[0],
        other=names[1],
        pictures=tuple(
            Picture(
                index=int(a.indices[k]),
                label=int(a.labels[k]),
                answer=int(answers[k]),
                confidence=float(p[k].max()),
                other_answer=int(others[k]),
                other_confidence=float(q[k].max()),
                difference=float(difference[k]),
                image=copy,
            )
            for k, copy in zip(rows, copies, strict=True)
        ),
    )


def _copies(images: ReadImages, rows: IntArray) -> list[str]:
    return [_data_uri(image) for image in images(rows)] if len(rows) else []


def _data_uri(image: NDArray[np.uint8]) -> str:
    """A small copy of one image, uint8 [3, H, W]."""
    copy = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if max(copy.size) > LARGEST:
        copy.thumbnail((LARGEST, LARGEST))
    kind = "png" if max(copy.size) <= AS_PNG else "jpeg"
    content = io.BytesIO()
    if kind == "png":
        copy.save(content, "PNG", optimize=True)
    else:
        copy.save(content, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
