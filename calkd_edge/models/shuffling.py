"""Channel shuffle for maps in channels-last memory.

The usual form (view, transpose, view) copies such a map into the other layout and back, in both passes; here
one copy is enough.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel j of group i becomes channel i of block j: [B, C, H, W], C a multiple of `groups`.

    Source: Zhang et al., "ShuffleNet", CVPR 2018 (arXiv 1707.01083), section 3.1.
    """
    batch, channels, height, width = x.shape
    last = x.permute(0, 2, 3, 1).reshape(batch, height, width, groups, channels // groups)
    shuffled = last.transpose(3, 4).reshape(batch, height, width, channels)
    return shuffled.permute(0, 3, 1, 2)


class Interleaving(torch.autograd.Function):
    """Concatenation of two maps with a shuffle in two groups: a0 b0 a1 b1 ...; both [B, C, H, W].

    Each gradient is returned in channels-last memory, the layout that the preceding layer reads.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """[B, 2 C, H, W] in channels-last memory."""
        first, second = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
        if a.dtype in (torch.float32, torch.float64):
            # As real and imaginary parts: quicker than a stack.
            pairs = torch.view_as_real(torch.complex(first.contiguous(), second.contiguous()))
        else:
            pairs = torch.stack((first, second), dim=-1)
        return pairs.flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of a and b."""
        last = gradient.permute(0, 2, 3, 1)
        pairs = last.reshape(*last.shape[:3], -1, 2)
        of_a, of_b = pairs[..., 0].contiguous(), pairs[..., 1].contiguous()
        return of_a.permute(0, 3, 1, 2), of_b.permute(0, 3, 1, 2)
