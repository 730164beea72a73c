"""The inputs of a classifier of any maker: images of a folder or a data set, or arrays as it takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calkd_edge.data import DATASETS
from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.images_file import write_images
from calkd_edge.data.pixels import Resize
from calkd_edge.data.source import Source
from calkd_edge.errors import EnvironmentProblem, RecipeError, StageFailed
from calkd_edge.files.arrays import read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.full_disk import temporary_place
from calkd_edge.files.paths import check_path
from calkd_edge.files.recognised import recognised
from calkd_edge.records import IntArray

ARRAYS_EXAMPLE = "inputs [N, ...] exactly as the model takes them, and labels [N]"
LARGEST_LABEL = 2**63 - 1


@dataclass(frozen=True)
class Inputs:
    """Inputs in a .npy file, with their labels if these are known.

    Attributes:
        path: [N, ...]; uint8 [N, 3, H, W] for images.
        labels: [N] int64; None if not known.
        classes: names; empty if not known.
        part: which images these are, for the report.
        left_out: what was not used, and why; empty if nothing was left out.
    """

    path: Path
    labels: IntArray | None
    classes: tuple[str, ...]
    part: str
    left_out: str = ""


def arrays_of(path: Path, work: Path, *, limit: int | None, seed: int) -> Inputs:
    """Inputs of an .npz file with the arrays `inputs` and, if known, `labels` and `classes`.

    Raises:
        RecipeError: no such file, or other arrays.
    """
    refuse_other_file(path)
    try:
        values = read_arrays(path, ("inputs", "labels", "classes"))
    except (Unreadable, OSError) as broken:
        raise RecipeError(f"{path} cannot be read: {broken}", remedy=f"Save {ARRAYS_EXAMPLE}.") from None
    if "inputs" not in values or values["inputs"].ndim < 2:
        raise RecipeError(f"{path} has no inputs [N, ...]", remedy=f"Save {ARRAYS_EXAMPLE}.")
    inputs, labels = values["inputs"], values.get("labels")
    if not len(inputs):
        raise RecipeError(f"{path} holds 0 inputs", remedy=f"Save {ARRAYS_EXAMPLE}, for several images.")
    if labels is not None and (labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu"):
        raise RecipeError(
            f"{path}: inputs are {inputs.shape}, labels {labels.shape} of {labels.dtype}",
            remedy=f"Save {ARRAYS_EXAMPLE}.",
        )
    rows = _chosen(len(inputs), limit, seed)
    np.save(work / "inputs.npy", inputs[rows])
    chosen = None if labels is None else as_positions(labels[rows], path)
    names = tuple(str(name) for name in np.atleast_1d(values.get("classes", ())))
    return Inputs(work / "inputs.npy", chosen, names, f"{len(rows):,} inputs of {path.name}")


def as_positions(labels: NDArray[Any], path: Path) -> IntArray:
    """Whole labels as they are compared with classes.

    Raises:
        RecipeError: one is larger than any position.
    """
    if len(labels) and labels.dtype.kind == "u" and labels.max() > LARGEST_LABEL:
        raise RecipeError(
            f"{path}: labels reach {labels.max():,}, which is no position of a class",
            remedy="Save labels from 0 to the number of classes less one.",
        )
    return labels.astype(np.int64)


def check_fit(inputs: Inputs, model: onnx.ModelProto) -> None:
    """Refuse arrays that do not fit a model.

    Raises:
        RecipeError: another type, or another size on an axis that the model fixes.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    only = next(value for value in model.graph.input if value.name not in stored).type.tensor_type
    array = np.load(inputs.path, mmap_mode="r")
    expected = onnx.helper.tensor_dtype_to_np_dtype(only.elem_type)
    sizes = [dim.dim_value for dim in only.shape.dim]
    fits = len(sizes) == array.ndim and all(
        not size or size == other for size, other in zip(sizes[1:], array.shape[1:], strict=True)
    )
    if array.dtype != expected or not fits:
        shown = ", ".join(str(size or "any") for size in sizes)
        raise RecipeError(
            f"the inputs are {array.dtype} {list(array.shape)}, the model takes {expected} [{shown}]",
            remedy=f"Save {ARRAYS_EXAMPLE}.",
        )


def images_of(
    data: str | Path,
    root: str | Path | None,
    image_shape: tuple[int, int, int],
    work: Path,
    *,
    limit: int | None,
    seed: int,
    resize: Resize,
) -> Inputs:
    """The labelled images of a folder of class folders, or the test images of a data set.

    A folder with a test part gives its test part: most classifiers were trained on the other part, and are
    far more confident there. Images of a folder are resized to the model's size.

    Raises:
        RecipeError: there is no such data, or its images have another size.
    """
    source = _source(data, root, image_shape, work, resize)
    if source.image_shape != image_shape:
        raise RecipeError(
            f"the model takes images of {image_shape}, the data set has {source.image_shape}",
            remedy="Use a folder of class folders, whose images are resized: --data DIR",
        )
    test = np.flatnonzero(source.official_test)
    part = "test images" if len(test) else "images"
    skipped = f"; {len(source.skipped)} other files skipped" if source.skipped else ""
    candidates = test if len(test) else np.arange(len(source.labels))
    used = candidates[_chosen(len(candidates), limit, seed)]
    try:
        write_images(source, used, work / "inputs.npy", broken="refuse", progress=lambda done, total: None)
    except StageFailed as broken:
        raise StageFailed(broken.message, remedy="Repair or remove these files.") from None
    except EnvironmentProblem as full:
        raise EnvironmentProblem(full.message, remedy=temporary_place().remedy) from full
    return Inputs(
        work / "inputs.npy",
        source.labels[used],
        source.classes,
        f"{len(used):,} {part} of {Path(data).name}{skipped}",
        _left_out(source, len(used), len(candidates)),
    )


def _source(
    data: str | Path, root: str | Path | None, image_shape: tuple[int, int, int], work: Path, resize: Resize
) -> Source:
    """The opened data; images of a folder in the model's size.

    Raises:
        RecipeError: there is no such data; options are those of `evaluate` and `calibrate`.
    """
    check_path(data, "--data")
    is_folder = Path(data).is_dir()
    try:
        if not is_folder:
            settings = DATASETS.settings(str(data), {}, where="--data")
            dataset = DATASETS.load(str(data), where="--data")(
                None if root is None else Path(root), **settings
            )
            source: Source = dataset.open(work, _silent)
            return source
        return ImageFolder.of_shape(Path(data), image_shape[1:], resize).open(work, _silent)
    except RecipeError as wrong:
        option = "--data" if is_folder else "--root"
        raise RecipeError(
            wrong.message.replace("data.root:", f"{option}:").replace("data.root", option),
            remedy=wrong.remedy.replace("--set data.root=", f"{option} ").replace("data.root", option),
        ) from wrong


def _silent(done: int, total: int) -> None:
    """Progress that nobody sees."""


def _left_out(source: Source, used: int, candidates: int) -> str:
    reasons = []
    if candidates < len(source.labels):
        reasons.append(f"{len(source.labels) - candidates:,} images of the other part")
    if used < candidates:
        reasons.append(f"{candidates - used:,} images by --images")
    for reason in dict.fromkeys(reason for _, reason in source.skipped):
        names = [name for name, other in source.skipped if other == reason]
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        reasons.append(f"{len(names):,} x {reason} ({shown})")
    return "; ".join(reasons)


def refuse_other_file(path: Path) -> None:
    """Refuse a file that is a pointer or a web page in place of its content.

    Raises:
        RecipeError: saying what it is.
    """
    check_path(path, "the file")
    other = recognised(path) if path.is_file() else None
    if other is not None:
        raise RecipeError(f"{path} cannot be read: it is {other.what}", remedy=other.remedy)


def _chosen(count: int, limit: int | None, seed: int) -> IntArray:
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit]).astype(np.int64)
