"""What gates read of each test image: answer, confidence and losses of one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calkd_edge.metrics import per_image
from calkd_edge.metrics.inputs import reaches
from calkd_edge.records import BoolArray, IntArray, Predictions

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImageScores:
    """Scores of one file on labelled images, one row per image.

    They are kept as float32, in memory and in a release's file alike: a verdict that is taken again from the
    file is the same.

    Attributes:
        indices: [N] int64, position of each image in the prepared data.
        labels: [N] int64.
        answers: [N] int64, the predicted class.
        confidence: [N], its probability as the file returned it, else by softmax of the logits.
        nll: [N], negative log-likelihood of the label, in nats.
        brier: [N], squared distance of the probabilities from the label, 0..2.
    """

    indices: IntArray
    labels: IntArray
    answers: IntArray
    confidence: Float32Array
    nll: Float32Array
    brier: Float32Array

    @classmethod
    def of(cls, predictions: Predictions) -> ImageScores:
        """The scores of a file's predictions."""
        logits, labels = predictions.logits, predictions.labels
        returned = predictions.probabilities
        confidence = per_image.confidence(logits) if returned is None else returned.max(axis=1)
        return cls(
            predictions.indices,
            labels,
            per_image.top1(logits),
            confidence.astype(np.float32),
            per_image.nll_per_image(logits, labels).astype(np.float32),
            per_image.brier_per_image(logits, labels).astype(np.float32),
        )

    def at(self, rows: IntArray | BoolArray) -> ImageScores:
        """These rows alone."""
        return ImageScores(
            self.indices[rows],
            self.labels[rows],
            self.answers[rows],
            self.confidence[rows],
            self.nll[rows],
            self.brier[rows],
        )

    @property
    def right(self) -> BoolArray:
        """[N], whether the answer is the label."""
        return np.asarray(self.answers == self.labels, dtype=np.bool_)

    def reaches(self, threshold: float) -> BoolArray:
        """[N], whether the confidence reaches a threshold, compared in float32 as an application would."""
        return reaches(self.confidence, threshold)


class ScorePair(NamedTuple):
    """Two files on their common images, row by row."""

    candidate: ImageScores
    reference: ImageScores


def score_pair(candidate: ImageScores, reference: ImageScores) -> ScorePair | None:
    """Both on their common images; None when there are none or an image has two different labels."""
    _, left, right = np.intersect1d(candidate.indices, reference.indices, return_indices=True)
    if len(left) == 0 or not np.array_equal(candidate.labels[left], reference.labels[right]):
        return None
    return ScorePair(candidate.at(left), reference.at(right))
