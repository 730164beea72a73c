"""Logit standardization: logits without their mean and scale."""

from __future__ import annotations

from torch import Tensor

from calkd_edge.losses.base import full_precision

_EPSILON = 1e-7


def standardized(logits: Tensor) -> Tensor:
    """Each row's z-score: (logits - mean) / (unbiased standard deviation + 1e-7), [B, C], C >= 2.

    It leaves the scale of the student's logits free: only other terms of the loss set its confidence.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024 (arXiv 2403.01427),
    algorithm 1; the epsilon is that of its authors' code.
    """
    values = full_precision(logits)
    centred = values - values.mean(dim=1, keepdim=True)
    return centred / (values.std(dim=1, keepdim=True) + _EPSILON)
