"""Probabilistic knowledge transfer: the similarities between the images of a batch."""

from __future__ import annotations

from torch import Tensor

from calkd_edge.losses.base import Context, Step
from calkd_edge.losses.features import FeatureLoss, direction, pooled, vector_size

_EPSILON = 1e-7


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence of the neighbour probabilities, teacher to student, mean over all B * B pairs.

    The probability of j as a neighbour of i is (1 + cosine) / 2 divided by its sum for i. The mean over
    pairs, the pairs of an image with itself and the 1e-7 in the logarithm are those of the authors' code, to
    which the published weight belongs; the paper sums over the other images.

    Args:
        student: [B, D].
        teacher: [B, D'].

    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer",
    ECCV 2018 (arXiv 1803.10837), with the cosine kernel.
    """
    ours, theirs = _neighbours(student), _neighbours(teacher)
    return (theirs * ((theirs + _EPSILON).log() - (ours + _EPSILON).log())).mean()


def _neighbours(features: Tensor) -> Tensor:
    unit = direction(features, 1)
    similarity = ((unit @ unit.T + 1) / 2).clamp_min(0)  # a rounded cosine can be below -1
    return similarity / similarity.sum(1, keepdim=True).clamp_min(_EPSILON)


class PKT(FeatureLoss):
    """KL divergence between the similarities of a batch's images, from the cosines of the embeddings.

    Published for CIFAR-100 with weight 30,000 beside 1 of cross-entropy, on the pooled embedding.

    Args:
        context: its shapes are checked.
        student: tap of the student; a map is averaged over its pixels.
        teacher: tap of the teacher, likewise.

    Source: Passalis and Tefas, ECCV 2018 (arXiv 1803.10837), with the cosine kernel.
    """

    def __init__(self, context: Context, *, student: str, teacher: str) -> None:
        super().__init__((student,), (teacher,))
        vector_size(context.student_shape(student), student, "pkt")
        vector_size(context.teacher_shape(teacher), teacher, "pkt")

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        ((student, teacher),) = self.pairs(step)
        return pkt_loss(pooled(student), pooled(teacher))
