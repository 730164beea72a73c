"""soft_labels: the raw teacher's logits for V seeded views of every training image.

Stored as float16 after taking each row's maximum away (kept apart as float32): near the maximum, where
probability lies, float16 is then exact to 2e-4 in probability. The teacher's calibration is applied when they
are read, so a change of calibrator costs no teacher pass.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from calkd_edge.data.augment import Augmentation
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.records import FloatArray
from calkd_edge.stages.epochs import augmentation_of
from calkd_edge.stages.taught import taught
from calkd_edge.training.loop import fabric_for

VERSION = 1
"""Raised by hand when what this stage writes changes."""

LARGEST_SPREAD = 6.0e4
"""Beyond this a logit's distance to its row's maximum does not fit into float16."""

_VIEWS = 0x50
"""Keeps the draws of stored views apart from others that are seeded with the same numbers."""


def run(job: Job) -> None:
    """Write logits.npy [V, N, C] float16, offsets.npy [V, N] float32 and views.npz."""
    prepared = Prepared.open(job.inputs["data"])
    rows = prepared.indices("train")
    augmentation = augmentation_of(job.params["augmentation"], prepared)
    count, seed = job.params["views"], job.params["seed"]
    device = fabric_for(job.places["accelerator"]).device
    model = taught(job.inputs["teacher"], device)
    shape = (count, len(rows), len(prepared.classes))
    logits = np.lib.format.open_memmap(job.out / "logits.npy", "w+", np.float16, shape)
    offsets = np.empty(shape[:2], dtype=np.float32)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in augmentation.columns}
    for view_number in range(count):
        view = augmentation.draw(len(rows), np.random.default_rng([seed, view_number, _VIEWS]))
        for name in augmentation.columns:
            columns[name].append(view[name])
        kept = job.scratch / f"view-{view_number}.npz"
        if not kept.is_file():
            _save(kept, *_one_view(model, device, prepared, augmentation, view, job, view_number))
        with np.load(kept, allow_pickle=False) as stored:
            logits[view_number], offsets[view_number] = stored["logits"], stored["offsets"]
    logits.flush()
    np.save(job.out / "offsets.npy", offsets)
    facts = {"version": np.array(augmentation.version), "seed": np.array(seed), "rows": rows}
    stacked = {name: np.stack(values) for name, values in columns.items()}
    np.savez(job.out / "views.npz", **facts, **stacked)  # type: ignore[arg-type]  # numpy's stub


def _one_view(
    model: nn.Module,
    device: torch.device,
    prepared: Prepared,
    augmentation: Augmentation,
    view: Mapping[str, np.ndarray],
    job: Job,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    rows = prepared.indices("train")
    size = job.params["images_per_step"]
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), size):
            piece = slice(start, start + size)
            images = torch.from_numpy(prepared.images[rows[piece]])
            replayed = augmentation.replay(images, {name: view[name][piece] for name in augmentation.columns})
            parts.append(model(replayed.to(device)).float().cpu().numpy())
            done = number * len(rows) + min(start + size, len(rows))
            job.progress(done, job.params["views"] * len(rows))
    return packed(np.concatenate(parts))


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
