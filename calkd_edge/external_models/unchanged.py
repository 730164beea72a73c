"""What the written file returns, output by output: confidence as calibrated, all else as it was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calkd_edge.errors import StageFailed
from calkd_edge.metrics import per_image as scores
from calkd_edge.onnx_model.classifier_output import ClassifierOutput, Kind
from calkd_edge.records import FloatArray

TOLERANCE = 2e-5
"""Of what a file returns in float32, relative above 1."""

COARSEST = 2.0**-7
"""Of what it may be rounded to on its way out: half precision, or the steps of an int8 scale."""

LOG_OF_NOTHING = -60.0
"""Logarithms below are of probabilities that count as 0."""

FORMS: tuple[Kind, ...] = ("logits", "softmax", "log_softmax")
"""In which an output beside the scores may hold them too."""


def check_returned(
    before: Mapping[str, FloatArray],
    after: Mapping[str, FloatArray],
    ends: ClassifierOutput,
    *,
    raw: FloatArray,
    calibrated: FloatArray,
) -> None:
    """Hold the outputs of the given and of the written file against what each must be.

    Args:
        before: every output of the given file, by name.
        after: of the written one, on the same inputs.
        ends: where its scores are.
        raw: [N, C] logits as they were found in the given file.
        calibrated: [N, C], the map applied to them by hand.

    Raises:
        StageFailed: an output lost its type or form, holds other scores than calibrated ones, or changed
            though it is no score.
    """
    for name, was in before.items():
        now = after.get(name)
        if now is None or now.dtype != was.dtype or now.shape != was.shape:
            raise StageFailed(
                f"the written file returns '{name}' in another form than the given one",
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
                    f"the written file does not return calibrated scores in '{name}': they are off by "
                    f"{now_away:.2g}, the given file's by {away:.2g}",
                    remedy="Do not ship it; report the model.",
                )
        elif name == ends.scores:
            raise StageFailed(
                f"the given file's own scores '{name}' are not what its graph seems to say ({ends.kind} of "
                f"'{ends.logits}')",
                remedy="Say what they are: --scores probabilities or --scores logits.",
            )
        elif not (np.array_equal(was, now, equal_nan=True) or _is_of_scores(flat, raw)):
            raise StageFailed(
                f"the written file returns another '{name}', which is no score",
                remedy="Export the classifier without that branch.",
            )


def _as(kind: Kind, logits: FloatArray) -> FloatArray:
    """[N, C] what an output of that kind holds where the logits are these."""
    if kind == "logits":
        return np.asarray(logits, dtype=np.float64)
    log_p = scores.log_softmax(logits)
    return log_p if kind == "log_softmax" else np.exp(log_p)


def _away(found: FloatArray, expected: FloatArray) -> float:
    """The largest difference, relative above 1; logarithms of nothing are not compared."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(np.where((found == expected) | (expected < LOG_OF_NOTHING), 0.0, apart).max())


def _is_of_scores(found: FloatArray, raw: FloatArray) -> bool:
    """Whether an output holds some of the confidences themselves, as a top-k does."""
    return found.shape[1] < raw.shape[1] and bool(
        np.allclose(np.sort(found, axis=1)[:, -1], scores.confidence(raw), atol=COARSEST)
    )
