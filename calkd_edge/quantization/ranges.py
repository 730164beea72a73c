"""Activation ranges: the magnitudes of values in an ONNX graph, over training images.

Ranges are the statistics of int8, unrelated to calibrating confidence. They are collected with the float32
graph in ONNX Runtime on the host; no published measurement is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.quantization.magnitudes import Magnitudes, RangeMethod
from calkd_edge.quantization.source import Progress, no_progress

IMAGES_PER_RUN = 64


def activation_ranges(
    model: onnx.ModelProto,
    names: Sequence[str],
    images: np.ndarray,
    method: RangeMethod,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """The symmetric range [-r, r] of each named value: r > 0.

    Args:
        model: the float32 graph.
        names: of the values.
        images: uint8 [N, 3, H, W].
        method: see Magnitudes.
        progress: called with the number of finished batches and of all batches.
    """
    magnitudes = Magnitudes(names, method)
    runs = -(-len(images) // IMAGES_PER_RUN)
    for this_pass in range(magnitudes.passes):
        for number, batch in enumerate(_batches(model, names, images)):
            for name, values in batch.items():
                magnitudes.add(this_pass, name, values)
            progress(this_pass * runs + number + 1, magnitudes.passes * runs)
    return magnitudes.ranges()


def value_ends(
    model: onnx.ModelProto, names: Sequence[str], images: np.ndarray
) -> dict[str, tuple[float, float]]:
    """The lowest and the highest number of each named value, 0 included."""
    ends = dict.fromkeys(names, (0.0, 0.0))
    for batch in _batches(model, names, images):
        for name, values in batch.items():
            low, high = ends[name]
            ends[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ends


def channel_maxima(model: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The largest magnitude in each channel of each named value [N, C, ...]: [C] >= 0."""
    maxima: dict[str, np.ndarray] = {}
    for batch in _batches(model, names, images):
        for name, values in batch.items():
            largest = np.abs(values).max((0, *range(2, values.ndim))).astype(np.float64)
            maxima[name] = np.maximum(maxima.get(name, 0.0), largest)
    return maxima


def channel_means(model: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The mean of each channel of each named value [N, C, ...]: float64 [C]; N may count parts of images."""
    sums: dict[str, np.ndarray] = {}
    rows = dict.fromkeys(names, 0)
    for batch in _batches(model, names, images):
        for name, values in batch.items():
            sums[name] = sums.get(name, 0.0) + row_means(values).sum(0)
            rows[name] += len(values)
    return {name: total / rows[name] for name, total in sums.items()}


def row_means(values: np.ndarray) -> np.ndarray:
    """The mean of each channel of each row, float64 [N, C], of values [N, C, ...]."""
    means: np.ndarray = values.reshape(*values.shape[:2], -1).mean(2, dtype=np.float64)
    return means


def _batches(
    model: onnx.ModelProto, names: Sequence[str], images: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """The named values, a batch at a time.

    Raises:
        StageFailed: the file takes another number of images.
    """
    session = _session(model, names)
    feed = session.get_inputs()[0]
    for start in range(0, len(images), IMAGES_PER_RUN):
        batch = np.ascontiguousarray(images[start : start + IMAGES_PER_RUN])
        if isinstance(feed.shape[0], int) and feed.shape[0] != len(batch):
            raise StageFailed(
                f"int8 measures {len(batch)} images at once, and the input '{feed.name}' takes exactly "
                f"{feed.shape[0]}",
                remedy="Export the model with an open number of images (a dynamic first axis).",
            )
        yield dict(zip(names, session.run(list(names), {feed.name: batch}), strict=True))


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    exposed = copy_of(model)
    del exposed.graph.output[:]
    inputs = {value.name for value in model.graph.input}
    if inputs & set(names):
        raise ValueError("the graph's input has no activation range")
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
