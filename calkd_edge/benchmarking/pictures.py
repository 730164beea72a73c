"""On what images files are timed: real ones where some are at hand, else seeded noise; never zeros."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from calkd_edge.data.pixels import array_from_image, decode_image, image_suffixes, resized
from calkd_edge.data.prepared import Prepared
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.export.artifacts import CANONICAL
from calkd_edge.metrics.latency import TIMED_IMAGES
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.release.bundle import INPUTS

COARSE = 8
SEED = 17
Images = NDArray[Any]


def images_for(
    folder: Path, *, given: Path | None, prepared: Path | None, seed: int, bundle: Path | None
) -> tuple[Images, str]:
    """At most TIMED_IMAGES inputs [N, ...] as the model in `folder` takes them, and what they are in words.

    Args:
        folder: with the canonical file.
        given: what the user named, an .npy file or a folder of image files.
        prepared: the run's published data, where it is still there.
        seed: of the choice among its test images, as a run's own benchmark draws it.
        bundle: a zip with golden inputs.

    Raises:
        RecipeError: what was given does not fit, or the model's input cannot be filled.
    """
    shape, dtype = _input_of(folder / CANONICAL)
    if given is not None:
        return _given(given, shape, dtype), f"{given.name}"
    if prepared is not None:
        try:
            found = Prepared.open(prepared).arrays("test", TIMED_IMAGES, seed)[0]
        except CalkdError:  # images that were not kept, and whose source is gone
            found = None
        if found is not None and _fits(found, shape, dtype):
            return found, f"{len(found)} test images of the run"
    if bundle is not None:
        with zipfile.ZipFile(bundle) as archive:
            content = archive.read(INPUTS)
        found = np.load(io.BytesIO(content), allow_pickle=False)["images"]
        if _fits(found, shape, dtype):
            return found, f"{len(found)} golden inputs of the bundle"
    return noise(
        _closed(shape), dtype
    ), f"{TIMED_IMAGES} images of seeded noise: name real ones with --images"


def noise(shape: tuple[int, ...], dtype: np.dtype[Any], count: int = TIMED_IMAGES) -> Images:
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
        f"a model with an input of {dtype} is no image classifier", remedy="Name inputs with --images."
    )


def _given(path: Path, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> Images:
    if path.is_dir():
        found = _decoded(path, shape, dtype)
    else:
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)[:TIMED_IMAGES]
        except (OSError, ValueError, EOFError) as wrong:
            raise RecipeError(
                f"--images {path} cannot be read: {wrong}", remedy="Name an .npy file or a folder of images."
            ) from None
    if not len(found) or not _fits(found, shape, dtype):
        raise RecipeError(
            f"--images {path}: {list(found.shape)} of {found.dtype} is not what the model takes",
            remedy=f"It takes [N, {', '.join(map(str, shape))}] of {dtype}.",
        )
    return np.array(found)


def _decoded(folder: Path, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> Images:
    size = shape[-1]
    if dtype != np.uint8 or len(shape) != 3 or size is None or shape[1] != size:
        raise RecipeError(
            f"--images {folder}: only models of uint8 [N, 3, S, S] are fed from image files",
            remedy="Name an .npy file with inputs exactly as the model takes them.",
        )
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in image_suffixes())[
        :TIMED_IMAGES
    ]
    decoded = [array_from_image(resized(decode_image(path, str(path)), size, "crop")) for path in paths]
    if not decoded:
        raise RecipeError(f"--images {folder}: no image files", remedy="Name a folder with some.")
    return np.stack(decoded)


def _input_of(path: Path) -> tuple[tuple[int | None, ...], np.dtype[Any]]:
    """Sizes behind the first of the one input, None where they are open, and its type."""
    graph = read_onnx(path).graph
    stored = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in stored]
    tensor = inputs[0].type.tensor_type if len(inputs) == 1 else onnx.TypeProto.Tensor()
    sizes = [one.dim_value or None for one in tensor.shape.dim]
    if len(sizes) < 2 or sizes[0] not in (None, 1):
        raise RecipeError(
            f"{path.name}: not one input of [1, ...] or [N, ...]",
            remedy="Export it with one image input whose first size is open, or 1.",
        )
    return tuple(sizes[1:]), np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _fits(found: Images, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> bool:
    same = len(found.shape) == len(shape) + 1 and found.dtype == dtype
    return same and all(size in (None, own) for size, own in zip(shape, found.shape[1:], strict=True))


def _closed(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) != len(shape):
        raise RecipeError(
            f"the model's input [N, {', '.join(str(size or '?') for size in shape)}] leaves sizes open",
            remedy="Name inputs of the size that counts with --images FILE.npy.",
        )
    return sizes
