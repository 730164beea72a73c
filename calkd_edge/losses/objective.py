"""The weighted sum of a recipe's losses, and what it says of the teacher's calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from calkd_edge.losses.base import Loss, Step, TeacherEffect
from calkd_edge.records import Affine


class WeightedLosses(nn.Module):
    """Named terms, each times its weight.

    Args:
        terms: (name, weight, loss) in the recipe's order; a name may stand twice.
    """

    def __init__(self, terms: Sequence[tuple[str, float, Loss]]) -> None:
        super().__init__()
        self.names = [
            f"{name}-{place}" if place else name for place, name in _numbered([t[0] for t in terms])
        ]
        self.weights = [weight for _, weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, _, loss in terms])

    def forward(self, step: Step) -> dict[str, Tensor]:
        """Each term already weighed; their sum is the loss."""
        return {
            name: weight * loss(step)
            for name, weight, loss in zip(self.names, self.weights, self.losses, strict=True)
        }

    def mixed(self, step: Step, other_labels: Tensor, share: float) -> dict[str, Tensor]:
        """The terms for images made of two: what reads labels is asked with both, and their shares weigh.

        Args:
            step: with the first images' labels.
            other_labels: [B] int64, the second images'.
            share: of the first labels, in 0..1.
        """
        other = replace(step, labels=other_labels)
        terms = {}
        for name, weight, loss in zip(self.names, self.weights, self.losses, strict=True):
            value = loss(step)
            if loss.uses_labels:
                value = share * value + (1 - share) * loss(other)
            terms[name] = weight * value
        return terms


def _numbered(names: list[str]) -> list[tuple[int, str]]:
    return [(names[:place].count(name), name) for place, name in enumerate(names)]


def joined_effect(losses: Sequence[Loss], affine: Affine) -> TeacherEffect:
    """What calibrating the teacher does to a whole sum: it acts when any term feels it."""
    effects = [loss.teacher_effect(affine) for loss in losses]
    for kind in ("acts", "partial", "absorbed"):
        felt = [effect for effect in effects if effect.kind == kind]
        if felt:
            return felt[0]
    return TeacherEffect("no_op", "; ".join(dict.fromkeys(effect.sentence for effect in effects)))
