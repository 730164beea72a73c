"""Logit standardization: logits by their shape alone, without place or spread."""

from __future__ import annotations

from torch import Tensor

from calkd_edge.losses.base import full_precision

_EPSILON = 1e-7


def standardized(logits: Tensor) -> Tensor:
    """Each row's z-score: (logits - mean) / (unbiased standard deviation + 1e-7), [B, C], C >= 2.

    A student that learns from it is free in the scale of its logits: only other terms of the sum set its
    confidence.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024 (arXiv 2403.01427),
    algorithm 1; the epsilon is that of its authors' code.
    """
    values = full_precision(logits)
    centred = values - values.mean(dim=1, keepdim=True)
    return centred / (values.std(dim=1, keepdim=True) + _EPSILON)
