"""Small training sets stay on the GPU: an epoch uploads its order, draws and soft labels, and a step nothing.

The choice changes no bit of a batch: a killed training may resume with the other one. Not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from calkd_edge.data.prepared import Prepared
from calkd_edge.records import IntArray
from calkd_edge.training.batch import Batch

LARGEST_SHARE = 4
"""Resident data take at most one part in so many of the free memory: a training step needs the rest."""

_ROWS = 4096
"""Copied at once, so that the host needs little memory for it."""


class Draw(NamedTuple):
    """A step of one process before its images are read.

    Attributes:
        chosen: [B] int64, positions in the train split.
        view: columns of the augmentation, [B] each.
        epoch: fractional.
    """

    chosen: IntArray
    view: Mapping[str, np.ndarray]
    epoch: float


def resident_bytes(images: int, image_shape: tuple[int, int, int], classes: int) -> int:
    """Bytes of the images, their labels, and the stored logits of one view.

    Args:
        images: of the train split.
        image_shape: (3, H, W).
        classes: of the stored logits; 0 without them.
    """
    channels, height, width = image_shape
    of_logits = 2 * classes + 4 if classes else 0  # float16, and the row's maximum in float32
    return images * (channels * height * width + 8 + of_logits)


def is_resident(device: torch.device, *, is_exact: bool, needed_bytes: int, free_bytes: int) -> bool:
    """Whether a training's images and labels lie on its device.

    Args:
        device: that trains.
        is_exact: batches can be finished there with the bits that the CPU would give.
        needed_bytes: of `resident_bytes`.
        free_bytes: of the device's memory.
    """
    return device.type == "cuda" and is_exact and needed_bytes * LARGEST_SHARE <= free_bytes


class ResidentImages:
    """The images and labels of a train split on a device.

    Attributes:
        images: [N, 3, H, W] uint8.
        labels: [N] int64.

    Args:
        prepared: the data.
        rows: of the train split.
        device: for the copy.
    """

    def __init__(self, prepared: Prepared, rows: IntArray, device: torch.device) -> None:
        shape = (len(rows), *prepared.image_shape)
        self.images = torch.empty(shape, dtype=torch.uint8, device=device)
        for start in range(0, len(rows), _ROWS):
            piece = slice(start, start + _ROWS)
            self.images[piece].copy_(torch.from_numpy(prepared.images[rows[piece]]))
        self.labels = torch.from_numpy(prepared.labels[rows]).to(device)

    def batches(
        self,
        draws: Sequence[Draw],
        replay: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
        logits: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[Batch]:
        """The batches of an epoch, gathered on the device; they are augmented where `Batch.to` is called.

        Args:
            draws: every step of this process.
            replay: of the augmentation.
            logits: positions [B] int64 -> the teacher's logits; None where there are no stored ones.
        """
        if not draws:
            return
        device = self.images.device
        order = torch.from_numpy(np.concatenate([draw.chosen for draw in draws])).to(device)
        columns = {
            name: torch.from_numpy(np.concatenate([draw.view[name] for draw in draws])).to(device)
            for name in draws[0].view
        }
        start = 0
        for draw in draws:
            piece = slice(start, start + len(draw.chosen))
            start = piece.stop
            chosen = order[piece]
            yield Batch(
                images=self.images.index_select(0, chosen),
                labels=self.labels.index_select(0, chosen),
                indices=chosen,
                epoch=draw.epoch,
                teacher_logits=None if logits is None else logits(chosen),
                view={name: column[piece] for name, column in columns.items()},
                replay=replay,
            )


class ResidentLogits:
    """The stored logits of one view on a device, in memory that is used again for the next view.

    Args:
        images: N, of the train split.
        classes: C.
        device: for the copy.
    """

    def __init__(self, images: int, classes: int, device: torch.device) -> None:
        self.centred = torch.empty(images, classes, dtype=torch.float16, device=device)
        self.maxima = torch.empty(images, dtype=torch.float32, device=device)

    def fill(self, centred: np.ndarray, maxima: np.ndarray) -> None:
        """A view: float16 [N, C], each row without its maximum, and the float32 maxima [N]."""
        for start in range(0, len(maxima), _ROWS):
            piece = slice(start, start + _ROWS)
            # Copied first, because a column mapped from a file is read-only, which torch does not support.
            self.centred[piece].copy_(torch.from_numpy(np.array(centred[piece])))
        self.maxima.copy_(torch.from_numpy(np.array(maxima)))

    def __call__(self, chosen: Tensor) -> Tensor:
        """float32 [B, C] of the positions `chosen`, [B] int64 on the device."""
        return self.centred.index_select(0, chosen).float() + self.maxima.index_select(0, chosen)[:, None]
