"""The weighted sum of a recipe's losses, and the effect of the teacher's calibration on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from calkd_edge.losses.base import Loss, Step, TeacherEffect
from calkd_edge.records import Affine


class WeightedLosses(nn.Module):
    """Named losses, each multiplied by its weight.

    Args:
        terms: (name, weight, loss) in the recipe's order; a name may occur more than once.
    """

    def __init__(self, terms: Sequence[tuple[str, float, Loss]]) -> None:
        super().__init__()
        self.names = [
            f"{name}-{count}" if count else name for count, name in _numbered([t[0] for t in terms])
        ]
        self.weights = [weight for _, weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, _, loss in terms])

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Each term times its weight; their sum is the loss."""
        return {
            name: weight * loss(step)
            for name, weight, loss in zip(self.names, self.weights, self.losses, strict=True)
        }

    def mixed(self, step: Step, other_labels: Tensor, share: Tensor) -> dict[str, Tensor]:
        """The terms for mixed images: losses that read labels are computed for both and averaged by share.

        Args:
            step: with the first images' labels.
            other_labels: [B] int64, the second images'.
            share: weight of the first labels, 0-d float64 in 0..1.
        """
        other = replace(step, labels=other_labels)
        terms = {}
        for name, weight, loss in zip(self.names, self.weights, self.losses, strict=True):
            value = loss(step)
            if loss.uses_labels:
                value = averaged(value, loss(other), share)
            terms[name] = weight * value
        return terms


def averaged(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """share * first + (1 - share) * second, with a 0-d float64 share that is rounded once."""
    return share.to(first.dtype) * first + (1 - share).to(second.dtype) * second


def _numbered(names: list[str]) -> list[tuple[int, str]]:
    """(number of earlier occurrences, name) of each name."""
    return [(names[:index].count(name), name) for index, name in enumerate(names)]


def joined_effect(losses: Sequence[Loss], affine: Affine) -> TeacherEffect:
    """The effect of the teacher's calibration on a sum of losses: it acts if it acts on any term."""
    effects = [loss.teacher_effect(affine) for loss in losses]
    for kind in ("acts", "partial", "absorbed"):
        for effect in effects:
            if effect.kind == kind:
                return effect
    return TeacherEffect("no_op", "; ".join(dict.fromkeys(effect.sentence for effect in effects)))
