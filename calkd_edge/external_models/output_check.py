"""The outputs of a calibrated file: scores must be the calibrated ones, all others unchanged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calkd_edge.errors import StageFailed
from calkd_edge.metrics import per_image as scores
from calkd_edge.onnx_model.classifier_output import ClassifierOutput, Kind
from calkd_edge.records import FloatArray

TOLERANCE = 2e-5
"""Of float32 outputs, relative above 1."""

COARSEST = 2.0**-7
"""Of outputs that are rounded: half precision, or the steps of an int8 scale."""

LOG_OF_NOTHING = -60.0
"""Smaller logarithms are of probabilities that count as 0."""

FORMS: tuple[Kind, ...] = ("logits", "softmax", "log_softmax")
"""Forms in which another output may hold the scores too."""


def check_returned(
    before: Mapping[str, FloatArray],
    after: Mapping[str, FloatArray],
    ends: ClassifierOutput,
    *,
    raw: FloatArray,
    calibrated: FloatArray,
) -> None:
    """Compare the outputs of the original and of the written file with the expected values.

    Args:
        before: every output of the original file, by name.
        after: of the written file, on the same inputs.
        ends: where its scores are.
        raw: [N, C] logits of the original file.
        calibrated: [N, C], the map applied to them.

    Raises:
        StageFailed: an output lost its type or shape, does not hold the calibrated scores, or changed
            although it holds no scores.
    """
    for name, was in before.items():
        now = after.get(name)
        if now is None or now.dtype != was.dtype or now.shape != was.shape:
            raise StageFailed(
                f"the written file returns '{name}' in another form than the original",
                remedy="Do not ship it; report the model.",
            )
        if not np.issubdtype(was.dtype, np.floating):
            continue
        flat = was.reshape(len(was), -1)
        kinds: tuple[Kind, ...] = (ends.kind,) if name == ends.scores else FORMS
        fits = [kind for kind in kinds if flat.shape == raw.shape and _away(flat, _as(kind, raw)) <= COARSEST]
        if fits:
            away = _away(flat, _as(fits[0], raw))
            now_away = _away(now.reshape(len(now), -1), _as(fits[0], calibrated))
            if not now_away <= max(TOLERANCE, 2 * away):
                raise StageFailed(
                    f"the written file does not return calibrated scores in '{name}': they differ by "
                    f"{now_away:.2g}, those of the original by {away:.2g}",
                    remedy="Do not ship it; report the model.",
                )
        elif name == ends.scores:
            raise StageFailed(
                f"the scores '{name}' of the original file are not what its graph implies ({ends.kind} of "
                f"'{ends.logits}')",
                remedy="Say what they are: --scores probabilities or --scores logits.",
            )
        elif not (np.array_equal(was, now, equal_nan=True) or _is_of_scores(flat, raw)):
            raise StageFailed(
                f"the written file returns another '{name}', which holds no scores",
                remedy="Export the classifier without that branch.",
            )


def _as(kind: Kind, logits: FloatArray) -> FloatArray:
    """[N, C], an output of that kind for these logits."""
    if kind == "logits":
        return np.asarray(logits, dtype=np.float64)
    log_p = scores.log_softmax(logits)
    return log_p if kind == "log_softmax" else np.exp(log_p)


def _away(values: FloatArray, expected: FloatArray) -> float:
    """The largest difference, relative above 1; logarithms of 0 are not compared."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(values.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(np.where((values == expected) | (expected < LOG_OF_NOTHING), 0.0, apart).max())


def _is_of_scores(values: FloatArray, raw: FloatArray) -> bool:
    """Whether an output holds some of the confidences, as a top-k does."""
    return values.shape[1] < raw.shape[1] and bool(
        np.allclose(np.sort(values, axis=1)[:, -1], scores.confidence(raw), atol=COARSEST)
    )
