"""The batch of a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calkd_edge.training.step_tensors import StepNumbers


@dataclass(frozen=True)
class Batch:
    """The images of a step, with their labels and targets.

    Attributes:
        images: [B, 3, H, W] uint8, augmented, unless `replay` is still to be applied.
        labels: [B] int64.
        indices: [B] int64, position in the train split.
        epoch: fractional.
        teacher_logits: [B, C] float32, calibrated, from stored soft labels; None where the teacher runs live.
        other_labels: [B] int64, of the second image of each mixed image; None without mixing.
        share: weight of `labels`, in 0..1; `other_labels` have the rest.
        replay: the augmentation, which `to` applies where the images are then; None where it is applied.
        view: the columns that `replay` reads, [B] each; None where it is applied.
        numbers: `epoch` and `share` as tensors; None until the step begins.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epoch: float
    teacher_logits: Tensor | None = None
    other_labels: Tensor | None = None
    share: float = 1.0
    replay: Callable[[Tensor, Mapping[str, Tensor]], Tensor] | None = None
    view: Mapping[str, Tensor] | None = None
    numbers: StepNumbers | None = None

    def with_numbers(self, numbers: StepNumbers) -> Batch:
        """The same batch, whose epoch and share are filled into `numbers`."""
        numbers.fill(self.epoch, self.share)
        return replace(self, numbers=numbers)

    @property
    def on_device(self) -> StepNumbers:
        """The numbers as tensors, made here for a batch outside of a training."""
        if self.numbers is not None:
            return self.numbers
        numbers = StepNumbers(self.labels.device)
        numbers.fill(self.epoch, self.share)
        return numbers

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device, augmented; a copy from pinned memory does not wait."""
        moved = self._each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))
        if moved.replay is None or moved.view is None:
            return moved
        return replace(moved, images=moved.replay(moved.images, moved.view), replay=None, view=None)

    def pinned(self) -> Batch:
        """The same batch in memory from which a GPU copies by itself."""
        return self._each(Tensor.pin_memory)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of the batch."""
        for tensor in (self.images, self.labels, self.indices, self.teacher_logits, self.other_labels):
            if tensor is not None:
                yield tensor
        yield from (self.view or {}).values()

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def changed(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return replace(
            self,
            images=change(self.images),
            labels=change(self.labels),
            indices=change(self.indices),
            teacher_logits=changed(self.teacher_logits),
            other_labels=changed(self.other_labels),
            view=None if self.view is None else {name: change(column) for name, column in self.view.items()},
        )
