"""Activation ranges: how large the values at a place in an ONNX graph get, over training images.

Ranges are the statistics of int8; they have nothing to do with calibrating confidence. They are collected
with the float32 graph in ONNX Runtime on the host; nothing that ships is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime

from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.quantization.magnitudes import Magnitudes, RangeMethod
from calkd_edge.quantization.source import Progress, unheard

IMAGES_PER_RUN = 64


def activation_ranges(
    model: onnx.ModelProto,
    names: Sequence[str],
    images: np.ndarray,
    method: RangeMethod,
    progress: Progress = unheard,
) -> dict[str, float]:
    """The symmetric range [-r, r] of each named value: r > 0.

    Args:
        model: the float32 graph.
        names: values to look at.
        images: uint8 [N, 3, H, W].
        method: see Magnitudes.
        progress: called with batches read and batches to read.
    """
    found = Magnitudes(names, method)
    runs = -(-len(images) // IMAGES_PER_RUN)
    for this_pass in range(found.passes):
        for number, batch in enumerate(_batches(model, names, images)):
            for name, values in batch.items():
                found.see(this_pass, name, values)
            progress(this_pass * runs + number + 1, found.passes * runs)
    return found.ranges()


def channel_maxima(model: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The largest magnitude in each channel of each named value [N, C, H, W]: [C] >= 0."""
    found: dict[str, np.ndarray] = {}
    for batch in _batches(model, names, images):
        for name, values in batch.items():
            largest = np.abs(values).max((0, 2, 3)).astype(np.float64)
            found[name] = np.maximum(found.get(name, 0.0), largest)
    return found


def channel_means(model: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The mean of each channel of each named value [N, C, ...]: float64 [C]."""
    found: dict[str, np.ndarray] = {}
    for batch in _batches(model, names, images):
        for name, values in batch.items():
            found[name] = found.get(name, 0.0) + image_means(values).sum(0)
    return {name: total / len(images) for name, total in found.items()}


def image_means(values: np.ndarray) -> np.ndarray:
    """The mean of each channel of each image, float64 [N, C], of values [N, C, ...]."""
    means: np.ndarray = values.reshape(*values.shape[:2], -1).mean(2, dtype=np.float64)
    return means


def _batches(
    model: onnx.ModelProto, names: Sequence[str], images: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """The named values of some images at a time."""
    session = _session(model, names)
    feed = session.get_inputs()[0].name
    for start in range(0, len(images), IMAGES_PER_RUN):
        batch = np.ascontiguousarray(images[start : start + IMAGES_PER_RUN])
        yield dict(zip(names, session.run(list(names), {feed: batch}), strict=True))


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    shown = copy_of(model)
    del shown.graph.output[:]
    inputs = {value.name for value in model.graph.input}
    if inputs & set(names):
        raise ValueError("a range was asked for the graph's own input")
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
