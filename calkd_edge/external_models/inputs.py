"""What a classifier of any make is asked: images of a folder or a data set, or arrays as it takes them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.data import DATASETS
from calkd_edge.data.images_file import write_images
from calkd_edge.errors import RecipeError
from calkd_edge.records import IntArray

ARRAYS_EXAMPLE = "inputs [N, ...] exactly as the model takes them, and labels [N]"


@dataclass(frozen=True)
class Inputs:
    """Inputs in a .npy file, and what is known of them.

    Attributes:
        path: [N, ...]; uint8 [N, 3, H, W] for images.
        labels: [N] int64; None where nobody said.
        classes: names, empty where nobody said.
        part: which images these are, for the report.
    """

    path: Path
    labels: IntArray | None
    classes: tuple[str, ...]
    part: str


def arrays(path: Path, work: Path, *, limit: int | None, seed: int) -> Inputs:
    """Inputs of an .npz file with the arrays inputs and, where known, labels.

    Raises:
        RecipeError: no such file, or other arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files if name in ("inputs", "labels", "classes")}
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as broken:
        raise RecipeError(f"{path} cannot be read: {broken}", remedy=f"Save {ARRAYS_EXAMPLE}.") from None
    if "inputs" not in found or found["inputs"].ndim < 2:
        raise RecipeError(f"{path} holds no inputs [N, ...]", remedy=f"Save {ARRAYS_EXAMPLE}.")
    values, labels = found["inputs"], found.get("labels")
    if labels is not None and (labels.shape != values.shape[:1] or labels.dtype.kind not in "iu"):
        raise RecipeError(
            f"{path}: inputs are {values.shape}, labels {labels.shape} of {labels.dtype}",
            remedy=f"Save {ARRAYS_EXAMPLE}.",
        )
    rows = _chosen(len(values), limit, seed)
    np.save(work / "inputs.npy", values[rows])
    kept = None if labels is None else labels[rows].astype(np.int64)
    names = tuple(str(name) for name in np.atleast_1d(found.get("classes", ())))
    return Inputs(work / "inputs.npy", kept, names, f"{len(rows):,} inputs of {path.name}")


def check_fit(given: Inputs, model: onnx.ModelProto) -> None:
    """Refuse arrays that are not what a model takes.

    Raises:
        RecipeError: another type, or another size on an axis that the model fixes.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    only = next(value for value in model.graph.input if value.name not in stored).type.tensor_type
    asked = np.load(given.path, mmap_mode="r")
    wanted = onnx.helper.tensor_dtype_to_np_dtype(only.elem_type)
    sizes = [dim.dim_value for dim in only.shape.dim]
    fits = len(sizes) == asked.ndim and all(
        not size or size == own for size, own in zip(sizes[1:], asked.shape[1:], strict=True)
    )
    if asked.dtype != wanted or not fits:
        shown = ", ".join(str(size or "any") for size in sizes)
        raise RecipeError(
            f"the inputs are {asked.dtype} {list(asked.shape)}, the model takes {wanted} [{shown}]",
            remedy=f"Save {ARRAYS_EXAMPLE}.",
        )


def images(
    data: str,
    root: Path | None,
    image_shape: tuple[int, int, int],
    work: Path,
    *,
    limit: int | None,
    seed: int,
) -> Inputs:
    """Images of a folder of class folders, all of them, or of a data set's test part.

    The test part, because most classifiers were trained on the other one, and are far surer there.

    Raises:
        RecipeError: there is no such data, or its images have another size.
    """
    if Path(data).is_dir():
        settings = DATASETS.settings("image_folder", {"image_size": image_shape[1]}, where="--data")
        dataset = DATASETS.load("image_folder")(Path(data), **settings)
    else:
        settings = DATASETS.settings(data, {}, where="--data")
        dataset = DATASETS.load(data, where="--data")(root, **settings)
    source = dataset.open(work, lambda done, total: None)
    if source.image_shape != image_shape:
        raise RecipeError(
            f"the model takes images of {image_shape}, the data set has {source.image_shape}",
            remedy="Take data of the model's size (images of a folder become squares), or an .npz.",
        )
    own = np.flatnonzero(source.official_test)
    part = "test images" if len(own) else "images"
    everything = own if len(own) else np.arange(len(source.labels))
    used = everything[_chosen(len(everything), limit, seed)]
    write_images(source, used, work / "inputs.npy", broken="refuse", progress=lambda done, total: None)
    return Inputs(
        work / "inputs.npy", source.labels[used], source.classes, f"{len(used):,} {part} of {Path(data).name}"
    )


def _chosen(count: int, limit: int | None, seed: int) -> IntArray:
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit]).astype(np.int64)
