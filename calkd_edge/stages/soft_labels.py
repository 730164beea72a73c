"""soft_labels: the raw teacher's logits for V seeded views of every training image.

They are stored as float16 after subtracting each row's maximum, which is stored as float32: near the maximum,
where the probability is, float16 is then exact to 2e-4 in probability. The teacher's calibration is applied
when they are read, so a change of calibrator costs no teacher pass. With `top`, only the largest logits of a
row are stored, and of the others mean and variance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from calkd_edge.data.augment import Augmentation
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed, StoreError
from calkd_edge.files.named_by_digest import intact, write_with_digest
from calkd_edge.files.new_array import new_array
from calkd_edge.records import FloatArray, IntArray
from calkd_edge.stages.epochs import augmentation_of, replayed_on
from calkd_edge.stages.frozen_teacher import frozen_teacher
from calkd_edge.stages.params import SoftLabelsParams
from calkd_edge.stages.top_logits import TailForm, check_top, class_type, truncated
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.cuda import full_float32

LARGEST_SPREAD = 6.0e4
"""A larger distance of a logit to its row's maximum does not fit into float16."""

PIECE = 8192
"""Images of a view whose logits are stored in one part until the pass is complete."""

_VIEWS = 0x50
"""Keeps the draws of stored views apart from others that are seeded with the same numbers."""


def run(job: Job) -> None:
    """Write logits.npy [V, N, C] float16, offsets.npy [V, N] float32 and views.npz.

    With `top`: logits.npy [V, N, K], classes.npy [V, N, K], tail.npy [V, N, 2] float32 and tail_form.npz.
    """
    params = SoftLabelsParams.model_validate(job.params)
    prepared = Prepared.open(job.inputs["data"], job.locations["cache"])
    if params.top is not None:
        check_top(params.top, len(prepared.classes), "distill.soft_labels.top")
    augmentation = augmentation_of(params.augmentation, prepared)
    fabric = fabric_for(job.locations["accelerator"])
    teacher = TeacherPass(
        frozen_teacher(job.inputs["teacher"], fabric.device), fabric.device, prepared, augmentation
    )
    rows, size, count = prepared.indices("train"), params.images_per_step, params.views
    views = [
        augmentation.draw(len(rows), np.random.default_rng([params.seed, number, _VIEWS]))
        for number in range(count)
    ]
    shares = _shares(len(rows), size, fabric.world_size)
    share = shares[fabric.global_rank]
    for number, view in enumerate(views):
        for piece in _pieces(share, size):
            part = _part(job.scratch, number, piece)
            if intact(part) is not None:
                continue
            logits = []
            for at in range(piece.start, piece.stop, size):
                batch = slice(at, min(at + size, piece.stop))
                logits.append(teacher.logits(rows, batch, view))
                total = share.stop - share.start
                job.progress(number * total + batch.stop - share.start, count * total)
            write_with_digest(part, partial(_save, _stored(np.concatenate(logits), params.top)))
    fabric.barrier()
    if fabric.global_rank == 0:
        pieces = [piece for share in shares for piece in _pieces(share, size)]
        _write(job, params, prepared, augmentation, views, pieces)


@dataclass(frozen=True)
class TeacherPass:
    """A teacher, and the images whose raw logits it computes."""

    model: nn.Module
    device: torch.device
    prepared: Prepared
    augmentation: Augmentation

    def logits(self, rows: IntArray, piece: slice, view: Mapping[str, np.ndarray]) -> FloatArray:
        """Logits of a piece of the train split, each image in its view, [B, C] float32."""
        images = torch.from_numpy(self.prepared.images[rows[piece]])
        columns = {name: view[name][piece] for name in self.augmentation.columns}
        replayed = replayed_on(self.device, self.augmentation, images, columns)
        with torch.no_grad(), full_float32():
            logits: FloatArray = self.model(replayed).float().cpu().numpy()
        return logits


def _shares(count: int, size: int, processes: int) -> list[slice]:
    """Equal shares of complete batches, so that batches are the same for any number of processes."""
    batches = -(-count // size)
    edges = [min(count, size * (batches * share // processes)) for share in range(processes + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _pieces(share: slice, size: int) -> list[slice]:
    """A share in pieces of complete batches; a killed pass loses at most one piece."""
    length = max(1, PIECE // size) * size
    return [slice(at, min(at + length, share.stop)) for at in range(share.start, share.stop, length)]


def _part(scratch: Path, view: int, piece: slice) -> Path:
    return scratch / f"view-{view}-{piece.start}-{piece.stop}.npz"


def _write(
    job: Job,
    params: SoftLabelsParams,
    prepared: Prepared,
    augmentation: Augmentation,
    views: Sequence[Mapping[str, np.ndarray]],
    pieces: Sequence[slice],
) -> None:
    rows, classes, top = prepared.indices("train"), len(prepared.classes), params.top
    shape = (len(views), len(rows))
    arrays = {
        "logits": new_array(job.out / "logits.npy", (*shape, classes if top is None else top), np.float16),
        "offsets": np.empty(shape, dtype=np.float32),
    }
    if top is not None:
        arrays["classes"] = new_array(job.out / "classes.npy", (*shape, top), class_type(classes))
        arrays["tail"] = np.empty((*shape, 2), dtype=np.float32)
    sums = []
    for number in range(len(views)):
        for piece in pieces:
            with np.load(_intact_part(job.scratch, number, piece), allow_pickle=False) as stored:
                for name, array in arrays.items():
                    array[number, piece] = stored[name]
                if top is not None:
                    sums.append((stored["order_sums"], stored["shape_sums"]))
    for name, array in arrays.items():
        if isinstance(array, np.memmap):
            array.flush()
        else:
            np.save(job.out / f"{name}.npy", array)
    if top is not None:
        form = TailForm.of(sums)
        np.savez(job.out / "tail_form.npz", order=form.order, shape=form.shape)
    facts = {"version": np.array(augmentation.version), "seed": np.array(params.seed), "rows": rows}
    stacked = {name: np.stack([view[name] for view in views]) for name in augmentation.columns}
    np.savez(job.out / "views.npz", **facts, **stacked)  # type: ignore[arg-type]  # numpy's stub


def _intact_part(scratch: Path, view: int, piece: slice) -> Path:
    part = intact(_part(scratch, view, piece))
    if part is None:
        raise StoreError(
            f"a part of the soft labels in {scratch} was damaged while they were made",
            remedy="Check the disk and run again: the part is made again.",
        )
    return part


def _stored(logits: FloatArray, top: int | None) -> dict[str, np.ndarray]:
    """The arrays that are stored of rows of logits [N, C]."""
    centred, maxima = packed(logits)
    if top is None:
        return {"logits": centred, "offsets": maxima}
    rows = truncated(centred.astype(np.float32), top)
    return {
        "logits": rows.logits.astype(np.float16),  # exact: they come from float16
        "offsets": maxima,
        "classes": rows.classes,
        "tail": rows.tail,
        "order_sums": rows.order_sums,
        "shape_sums": rows.shape_sums,
    }


def packed(logits: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Centred float16 logits [N, C] and the float32 row maxima [N].

    Raises:
        StageFailed: a logit is not finite, or lies too far below its row's maximum for float16.
    """
    if not np.isfinite(logits).all():
        raise StageFailed("the teacher's logits are not finite", remedy="Train it again with a lower lr.")
    maxima = logits.max(axis=1)
    with np.errstate(over="ignore"):  # an infinite spread is refused in the next line
        centred = logits - maxima[:, None]
    if centred.min() < -LARGEST_SPREAD:
        raise StageFailed(
            f"the teacher's logits spread over {-centred.min():.3g}, float16 ends at {LARGEST_SPREAD:.0f}",
            remedy="Use distill.soft_labels.live: true, or train the teacher with weight decay.",
        )
    return centred.astype(np.float16), maxima.astype(np.float32)


def _save(arrays: Mapping[str, np.ndarray], stream: IO[bytes]) -> None:
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub
