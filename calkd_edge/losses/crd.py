"""Contrastive representation distillation: the two embeddings of an image against those of other images."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from calkd_edge.losses.base import Context, Step, Temperature
from calkd_edge.losses.features import FeatureLoss, direction, pooled, vector_size


def crd_loss(positive: Tensor, negative: Tensor, is_other: Tensor, *, log_z: Tensor, odds: float) -> Tensor:
    """-log h(positive) - K * mean over the negatives of log(1 - h), mean over the batch.

    h(s) = P / (P + odds) with P = exp(s) / Z: the probability that a pair belongs together, where each true
    pair comes with K drawn pairs of probability 1 / N. Computed as log-sigmoids.

    Args:
        positive: [B], cosine / temperature of each image's pair.
        negative: [B, K], the same for the drawn images.
        is_other: [B, K], False where the drawn image does not count as a negative.
        log_z: scalar, log Z.
        odds: K / N.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv 1910.10699), the critic's
    objective, with Z fixed as in the authors' code.
    """
    offset = log_z + math.log(odds)
    wrong = F.logsigmoid(offset - negative) * is_other
    mean = wrong.sum(1) / is_other.sum(1).clamp_min(1)
    return -(F.logsigmoid(positive - offset) + wrong.shape[1] * mean).mean()


class CRD(FeatureLoss):
    """Contrastive loss of each image's student and teacher embeddings against memory banks of other images.

    Both embeddings are projected and normalized; each is compared with the other network's bank, which
    contains a running mean for every training image. Negatives are drawn uniformly and with replacement from
    the bank, once per step for all images of the batch (the authors' code draws for each image: more memory,
    the same expectation). Negatives of the image's class do not count, once their class is known. With
    several processes, each of them stores the embeddings of all. Published for CIFAR-100 with weight 0.8
    beside 1 of cross-entropy, on the pooled embedding, with the defaults.

    Args:
        context: sets the sizes of the projections and the banks.
        student: tap of the student; a map is averaged over its pixels.
        teacher: tap of the teacher, likewise.
        size: of the projected embeddings. The banks take 8 * size bytes per training image.
        negatives: K, drawn in each step.
        temperature: divides cosines.
        momentum: weight of the old content of a bank.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv 1910.10699).
    """

    takes_mixed = False

    bank_student: Tensor
    bank_teacher: Tensor
    known_labels: Tensor
    log_z: Tensor

    def __init__(
        self,
        context: Context,
        *,
        student: str,
        teacher: str,
        size: Annotated[int, Field(ge=1, le=4096)] = 128,
        negatives: Annotated[int, Field(ge=1, le=2**17)] = 16384,
        temperature: Temperature = 0.07,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__((student,), (teacher,))
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.project_student = nn.Linear(vector_size(context.student_shape(student), student, "crd"), size)
        self.project_teacher = nn.Linear(vector_size(context.teacher_shape(teacher), teacher, "crd"), size)
        bound = math.sqrt(3 / size)  # uniform in +-bound: expected length 1
        for bank in ("bank_student", "bank_teacher"):
            self.register_buffer(bank, torch.empty(context.train_images, size).uniform_(-bound, bound))
        self.register_buffer("known_labels", torch.full((context.train_images,), -1))
        # log Z of the student's and of the teacher's scores, fixed by the first step.
        self.register_buffer("log_z", torch.full((2,), torch.nan))

    def forward(self, step: Step) -> Tensor:
        """A scalar; in training mode the banks are updated with the step's embeddings."""
        ((student, teacher),) = self.pairs(step)
        ours = direction(self.project_student(pooled(student)), 1)
        theirs = direction(self.project_teacher(pooled(teacher)), 1)
        drawn = torch.randint(len(self.known_labels), (self.negatives,), device=step.indices.device)
        is_other = (self.known_labels[drawn] != step.labels[:, None]) & (drawn != step.indices[:, None])
        scores = [
            self._scores(ours, self.bank_teacher, step.indices, drawn),
            self._scores(theirs, self.bank_student, step.indices, drawn),
        ]
        log_z = self._log_z(scores)
        odds = self.negatives / len(self.known_labels)
        total = [
            crd_loss(*pair, is_other, log_z=constant, odds=odds)
            for pair, constant in zip(scores, log_z, strict=True)
        ]
        if self.training:
            self._remember(step, ours, theirs, log_z)
        return torch.stack(total).sum()

    def _scores(
        self, embeddings: Tensor, bank: Tensor, indices: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of each image's entry, [B], and of the drawn entries, [B, K]."""
        positive = (embeddings * bank[indices]).sum(1)
        return positive / self.temperature, embeddings @ bank[drawn].T / self.temperature

    @torch.no_grad()
    def _log_z(self, scores: list[tuple[Tensor, Tensor]]) -> Tensor:
        """log Z, [2]: N times the mean of exp(score) over the first step, on all processes."""
        fresh = []
        for positive, negative in scores:
            everything = _gathered(torch.cat([positive, negative.flatten()]))
            fresh.append(everything.logsumexp(0) + math.log(len(self.known_labels) / len(everything)))
        return torch.where(self.log_z.isnan(), torch.stack(fresh).to(self.log_z), self.log_z)

    @torch.no_grad()
    def _remember(self, step: Step, ours: Tensor, theirs: Tensor, log_z: Tensor) -> None:
        indices, labels = _gathered(step.indices), _gathered(step.labels)
        for bank, fresh in ((self.bank_student, _gathered(ours)), (self.bank_teacher, _gathered(theirs))):
            mixed = self.momentum * bank[indices] + (1 - self.momentum) * fresh.to(bank)
            bank.index_copy_(0, indices, direction(mixed, 1))
        self.known_labels.index_copy_(0, indices, labels)
        self.log_z.copy_(log_z)


def _gathered(tensor: Tensor) -> Tensor:
    """The rows of all processes in the order of ranks; all processes have equally many."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return tensor
    pieces = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(pieces, tensor.detach().contiguous())
    return torch.cat(pieces)
