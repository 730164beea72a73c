"""soft_labels: the raw teacher's logits for V seeded views of every training image.

Stored as float16 after taking each row's maximum away (kept apart as float32): near the maximum, where
probability lies, float16 is then exact to 2e-4 in probability. The teacher's calibration is applied when they
are read, so a change of calibrator costs no teacher pass.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from calkd_edge.data.augment import Augmentation
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.records import FloatArray, IntArray
from calkd_edge.stages.epochs import augmentation_of
from calkd_edge.stages.taught import taught
from calkd_edge.training.loop import fabric_for

VERSION = 1
"""Raised by hand when what this stage writes changes."""

LARGEST_SPREAD = 6.0e4
"""Beyond this a logit's distance to its row's maximum does not fit into float16."""

PIECE = 8192
"""Images of a view whose answers are kept together until the pass is whole."""

_VIEWS = 0x50
"""Keeps the draws of stored views apart from others that are seeded with the same numbers."""


def run(job: Job) -> None:
    """Write logits.npy [V, N, C] float16, offsets.npy [V, N] float32 and views.npz."""
    prepared = Prepared.open(job.inputs["data"], job.locations["cache"])
    augmentation = augmentation_of(job.params["augmentation"], prepared)
    fabric = fabric_for(job.locations["accelerator"])
    teacher = Teaching(taught(job.inputs["teacher"], fabric.device), fabric.device, prepared, augmentation)
    rows, size, count = prepared.indices("train"), job.params["images_per_step"], job.params["views"]
    views = [
        augmentation.draw(len(rows), np.random.default_rng([job.params["seed"], number, _VIEWS]))
        for number in range(count)
    ]
    shares = _shares(len(rows), size, fabric.world_size)
    own = shares[fabric.global_rank]
    for number, view in enumerate(views):
        for piece in _pieces(own, size):
            kept = _part(job.scratch, number, piece)
            if kept.is_file():
                continue
            answers = []
            for at in range(piece.start, piece.stop, size):
                batch = slice(at, min(at + size, piece.stop))
                answers.append(teacher.logits(rows, batch, view))
                whole = own.stop - own.start
                job.progress(number * whole + batch.stop - own.start, count * whole)
            _save(kept, *packed(np.concatenate(answers)))
    fabric.barrier()
    if fabric.global_rank == 0:
        pieces = [piece for share in shares for piece in _pieces(share, size)]
        _write(job, prepared, augmentation, views, pieces)


@dataclass(frozen=True)
class Teaching:
    """A teacher that is asked for its raw logits."""

    model: nn.Module
    device: torch.device
    prepared: Prepared
    augmentation: Augmentation

    def logits(self, rows: IntArray, piece: slice, view: Mapping[str, np.ndarray]) -> FloatArray:
        """Of a piece of the train split, each image seen through its view, [B, C] float32."""
        images = torch.from_numpy(self.prepared.images[rows[piece]])
        seen = {name: view[name][piece] for name in self.augmentation.columns}
        replayed = self.augmentation.replay(images, seen)
        with torch.no_grad():
            answers: FloatArray = self.model(replayed.to(self.device)).float().cpu().numpy()
        return answers


def _shares(count: int, size: int, processes: int) -> list[slice]:
    """Equal shares in whole batches, so that an image has the same company for any number of processes."""
    batches = -(-count // size)
    edges = [min(count, size * (batches * place // processes)) for place in range(processes + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def _pieces(share: slice, size: int) -> list[slice]:
    """A share in whole batches, in pieces that a killed pass loses at most one of."""
    length = max(1, PIECE // size) * size
    return [slice(at, min(at + length, share.stop)) for at in range(share.start, share.stop, length)]


def _part(scratch: Path, view: int, piece: slice) -> Path:
    return scratch / f"view-{view}-{piece.start}-{piece.stop}.npz"


def _write(
    job: Job,
    prepared: Prepared,
    augmentation: Augmentation,
    views: Sequence[Mapping[str, np.ndarray]],
    pieces: Sequence[slice],
) -> None:
    rows = prepared.indices("train")
    shape = (len(views), len(rows), len(prepared.classes))
    logits = np.lib.format.open_memmap(job.out / "logits.npy", "w+", np.float16, shape)
    offsets = np.empty(shape[:2], dtype=np.float32)
    for number in range(len(views)):
        for piece in pieces:
            with np.load(_part(job.scratch, number, piece), allow_pickle=False) as stored:
                logits[number, piece], offsets[number, piece] = stored["logits"], stored["offsets"]
    logits.flush()
    np.save(job.out / "offsets.npy", offsets)
    seed = np.array(job.params["seed"])
    facts = {"version": np.array(augmentation.version), "seed": seed, "rows": rows}
    stacked = {name: np.stack([view[name] for view in views]) for name in augmentation.columns}
    np.savez(job.out / "views.npz", **facts, **stacked)  # type: ignore[arg-type]  # numpy's stub


def packed(logits: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Centred float16 logits [N, C] and the float32 row maxima [N].

    Raises:
        StageFailed: a logit is not finite, or lies too far below its row's maximum for float16.
    """
    if not np.isfinite(logits).all():
        raise StageFailed(
            "the teacher gave logits that are not finite", remedy="Train it anew with a lower lr."
        )
    maxima = logits.max(axis=1)
    with np.errstate(over="ignore"):  # an infinite spread is refused in the next line
        centred = logits - maxima[:, None]
    if centred.min() < -LARGEST_SPREAD:
        raise StageFailed(
            f"the teacher's logits spread over {-centred.min():.3g}, float16 ends at {LARGEST_SPREAD:.0f}",
            remedy="Use distill.soft_labels.live: true, or train the teacher with weight decay.",
        )
    return centred.astype(np.float16), maxima.astype(np.float32)


def _save(path: Path, logits: np.ndarray, offsets: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    np.savez(temporary, logits=logits, offsets=offsets)
    os.replace(temporary, path)
