"""The images that files are timed on: real images if there are some, else seeded noise; never zeros."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from calkd_edge.benchmarking.options import BenchmarkOptions
from calkd_edge.benchmarking.sources import Source
from calkd_edge.data.pixels import array_from_image, decode_image, image_suffixes, resized
from calkd_edge.data.prepared import Prepared
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.export.artifacts import CANONICAL
from calkd_edge.files.arrays import map_array, read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.zipped import opened_zip, read_member
from calkd_edge.metrics.latency import TIMED_IMAGES
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.validity import refused_if_invalid
from calkd_edge.release.bundle import INPUTS

COARSE = 8
SEED = 17
MOST_GOLDEN_BYTES = 1 << 30
Images = NDArray[Any]
DType = np.dtype[Any]


def images_for(
    folder: Path, *, images: Path | None, prepared: Path | None, seed: int, bundle: Path | None
) -> tuple[Images, str]:
    """At most TIMED_IMAGES inputs [N, ...] as the model in `folder` takes them, and their description.

    Args:
        folder: with the canonical file.
        images: the user's .npy file or folder of image files; None if there is none.
        prepared: the run's published data; None if it is gone.
        seed: of the choice among its test images, as the run's benchmark draws it.
        bundle: a zip with golden inputs.

    Raises:
        RecipeError: the given images do not fit, or the model's input cannot be filled.
    """
    shape, dtype = input_of(folder / CANONICAL)
    if images is not None:
        return _from_file(images, shape, dtype), images.name
    if prepared is not None:
        stored: Images | None
        try:
            stored = Prepared.open(prepared).arrays("test", TIMED_IMAGES, seed)[0]
        except CalkdError:  # images that were not stored, and whose source is gone
            stored = None
        if stored is not None and fits(stored, shape, dtype):
            return stored, f"{len(stored)} test images of the run"
    if bundle is not None:
        golden = _golden(bundle)
        if golden is not None and fits(golden, shape, dtype):
            return golden, f"{len(golden)} golden inputs of the bundle"
    description = f"{TIMED_IMAGES} images of seeded noise: give real images with --images"
    return noise(_closed(shape), dtype), description


def _golden(bundle: Path) -> Images | None:
    """The golden inputs of a bundle; None where they cannot be read."""
    try:
        with opened_zip(bundle) as archive:
            content = read_member(archive, INPUTS, MOST_GOLDEN_BYTES)
        return read_arrays(content, ("images",)).get("images")
    except (Unreadable, OSError):
        return None


def noise(shape: tuple[int, ...], dtype: DType, count: int = TIMED_IMAGES) -> Images:
    """Smooth seeded noise [count, *shape]: uint8 around the middle, floats of zero mean and unit spread.

    Raises:
        RecipeError: another type of input.
    """
    generator = np.random.default_rng(SEED)
    coarse = generator.standard_normal((count, *(math.ceil(size / COARSE) for size in shape)))
    for axis in range(1, coarse.ndim):
        coarse = np.repeat(coarse, COARSE, axis=axis)
    smooth = coarse[(slice(None), *(slice(size) for size in shape))]
    values = smooth + 0.3 * generator.standard_normal((count, *shape))
    if dtype.kind == "f":
        return values.astype(dtype)
    if dtype == np.uint8:
        return np.clip(128 + 50 * values, 0, 255).astype(np.uint8)
    raise RecipeError(
        f"a model with an input of {dtype} is no image classifier", remedy="Give inputs with --images."
    )


def _from_file(path: Path, shape: tuple[int | None, ...], dtype: DType) -> Images:
    if path.is_dir():
        images = _decoded(path, shape, dtype)
    else:
        try:
            stored = map_array(path)
            images = stored[:TIMED_IMAGES] if stored.ndim else stored[None]
        except (OSError, Unreadable) as wrong:
            raise RecipeError(
                f"--images {path} cannot be read: {wrong}", remedy="Give an .npy file or a folder of images."
            ) from None
    if not len(images) or not fits(images, shape, dtype):
        raise RecipeError(
            f"--images {path}: {list(images.shape)} of {images.dtype} does not fit the model",
            remedy=f"It takes [N, {', '.join(map(str, shape))}] of {dtype}.",
        )
    return np.array(images)


def _decoded(folder: Path, shape: tuple[int | None, ...], dtype: DType) -> Images:
    size = shape[-1]
    if dtype != np.uint8 or len(shape) != 3 or size is None or shape[1] != size:
        raise RecipeError(
            f"--images {folder}: only models of uint8 [N, 3, S, S] take image files",
            remedy="Give an .npy file with inputs exactly as the model takes them.",
        )
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in image_suffixes())[
        :TIMED_IMAGES
    ]
    decoded = [
        array_from_image(resized(decode_image(path, str(path)), (size, size), "crop")) for path in paths
    ]
    if not decoded:
        raise RecipeError(f"--images {folder}: no image files", remedy="Give a folder with images.")
    return np.stack(decoded)


def input_of(path: Path) -> tuple[tuple[int | None, ...], DType]:
    """Sizes after the batch axis of the only input, None if open, and its type."""
    graph = read_onnx(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    tensor = inputs[0].type.tensor_type if len(inputs) == 1 else onnx.TypeProto.Tensor()
    sizes = [dimension.dim_value or None for dimension in tensor.shape.dim]
    if len(sizes) < 2 or sizes[0] not in (None, 1):
        raise RecipeError(
            "the model does not have exactly one input of [1, ...] or [N, ...]",
            remedy="Export it with one image input whose first size is open, or 1.",
        )
    with refused_if_invalid(path):
        return tuple(sizes[1:]), np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def fits(images: Images, shape: tuple[int | None, ...], dtype: DType) -> bool:
    """Whether images [N, ...] are what an input of that shape and type takes; None is an open size."""
    alike = len(images.shape) == len(shape) + 1 and images.dtype == dtype
    return alike and all(size in (None, other) for size, other in zip(shape, images.shape[1:], strict=True))


def _closed(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) != len(shape):
        raise RecipeError(
            f"the model's input [N, {', '.join(str(size or '?') for size in shape)}] leaves sizes open",
            remedy="Give inputs of the intended size with --images FILE.npy.",
        )
    return sizes


def images_of(source: Source, options: BenchmarkOptions) -> tuple[np.ndarray, str]:
    """The images to time on, and their description."""
    report, prepared, seed = source.report, None, SEED
    if report is not None:
        stage = next((line for line in report.plan if line.stage == "prepare"), None)
        if stage is not None:
            folder = options.store / "objects" / stage.fingerprint[:2] / stage.fingerprint
            prepared = folder if folder.is_dir() else None
        seed = int(str(report.recipe.get("seed", SEED)))
    folder = next(iter(source.folders.values()))
    return images_for(folder, images=options.images, prepared=prepared, seed=seed, bundle=source.bundle)
