"""The verb `predict`: run a model over images and keep every output."""

from __future__ import annotations

import zipfile
from typing import Any, Iterator

import numpy as np

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.progress import Progress
from calkd_edge.agent.runtimes import open_runtime

MOST_IMAGES = 100
"""Images a run where the job names no number."""


def pieces(images: np.ndarray, size: int, is_fixed: bool) -> Iterator[tuple[int, np.ndarray, int]]:
    """The index at which each run starts, its images, and how many of them count.

    Where a model takes exactly `size` images, the last run repeats its last image.
    """
    for start in range(0, len(images), size):
        batch = np.ascontiguousarray(images[start : start + size])
        count = len(batch)
        if is_fixed and count < size:
            batch = batch[np.minimum(np.arange(size), count - 1)]
        yield start, batch, count


def run(job: dict[str, Any]) -> dict[str, object]:
    """Write every output of the model for every image to job["outputs"] (.npz, one array a name).

    The job holds: model, images (.npy uint8 [N, 3, H, W]), runtime, options, images_per_run, outputs. A model
    that takes a fixed number of images gets that many; the last run repeats its last image.
    """
    images = np.load(job["images"], mmap_mode="r", allow_pickle=False)
    size = int(job.get("images_per_run", MOST_IMAGES))
    if size < 1:
        raise AgentProblem(f"{size} images a run", "Request at least one.")
    progress = Progress()
    parts: dict[str, list[np.ndarray]] = {}
    with open_runtime(job["runtime"], job["model"], job["options"]) as runtime:
        for start, batch, count in pieces(images, runtime.fixed or size, runtime.fixed is not None):
            for name, values in runtime.infer(batch).items():
                filled = count < len(batch) == len(values)
                parts.setdefault(name, []).append(values[:count] if filled else values)
            progress.report(start + count, len(images))
        settings = runtime.session_options()
    # numpy.savez takes names as arguments, and an output may have the name of one of its parameters.
    with zipfile.ZipFile(job["outputs"], "w") as archive:
        for name, arrays in parts.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.concatenate(arrays), allow_pickle=False)
    return {"images": len(images), "session_options": settings}
