"""Activation ranges: how large the values at a place in the graph get, over training images.

Ranges are the statistics of int8; they have nothing to do with calibrating confidence. They are collected
with the
float32 graph in ONNX Runtime on the host; nothing that ships is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from calkd_edge.onnx_graph import copy_of
from calkd_edge.quantization.source import Progress, unheard

RangeMethod = Literal["min_max", "percentile", "mse", "entropy"]
BINS = 2048
PERCENTILE = 99.99
LEVELS = 128
"""Magnitudes that symmetric int8 tells apart."""

IMAGES_PER_RUN = 64
RESOLUTION = 0.005
"""A share of the squared error below which a histogram of BINS bins cannot tell two ranges apart."""


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
        method: min_max takes the largest magnitude; percentile cuts 1 in 10,000 magnitudes; mse takes the r
        whose
            int8 rounding error is smallest; entropy takes the r whose 128 levels lose least of the histogram,
            as Kullback-Leibler divergence (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
        progress: called with images read and images to read.

    Values are read in two passes, one for the largest magnitude and one for a histogram of 2,048 bins, so
    memory
    does not grow with the number of images.
    """
    session = _session(model, names)
    largest = dict.fromkeys(names, 0.0)
    passes = 1 if method == "min_max" else 2
    for done, values in _passes(session, names, images):
        progress(done, passes * len(images))
        for name, value in values:
            largest[name] = max(largest[name], float(np.abs(value).max()))
    if method == "min_max":
        return {name: top or 1.0 for name, top in largest.items()}
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in names}
    for done, values in _passes(session, names, images):
        progress(len(images) + done, passes * len(images))
        for name, value in values:
            counts[name] += np.histogram(np.abs(value), bins=BINS, range=(0.0, largest[name] or 1.0))[0]
    choose = {"percentile": _percentile, "mse": _least_squares, "entropy": _least_divergence}[method]
    return {name: choose(counts[name], largest[name] or 1.0) for name in names}


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


def _passes(
    session: onnxruntime.InferenceSession, names: Sequence[str], images: np.ndarray
) -> Iterator[tuple[int, Iterator[tuple[str, np.ndarray]]]]:
    """(images read so far, the values of one batch by name)."""
    feed = session.get_inputs()[0].name
    for start in range(0, len(images), IMAGES_PER_RUN):
        batch = np.ascontiguousarray(images[start : start + IMAGES_PER_RUN])
        yield start + len(batch), zip(names, session.run(list(names), {feed: batch}), strict=True)


def _percentile(counts: np.ndarray, largest: float) -> float:
    share = np.cumsum(counts) / counts.sum()
    bin_number = int(np.searchsorted(share, PERCENTILE / 100.0))
    return largest * min(bin_number + 1, BINS) / BINS


def _least_squares(counts: np.ndarray, largest: float) -> float:
    """The r whose squared error, rounding inside and clipping outside, is smallest over the histogram."""
    centres = (np.arange(BINS) + 0.5) * (largest / BINS)
    best, best_error = largest, np.inf
    for limit in np.linspace(1.0, 0.2, 81) * largest:
        step = limit / 127.0
        rounded = np.minimum(np.round(centres / step), 127.0) * step
        error = float(np.sum(counts * (centres - rounded) ** 2))
        if error < best_error * (1.0 - RESOLUTION):
            best, best_error = float(limit), error
    return best


def _least_divergence(counts: np.ndarray, largest: float) -> float:
    """The r behind which to clip, so that LEVELS levels say most of what the histogram says."""
    seen = counts.astype(np.float64)
    seen[0] = seen[1]  # exact zeros, as of a ReLU, are no reason for any range
    if not seen.any():
        return largest
    divergences = {limit: _divergence(seen, limit) for limit in range(LEVELS, BINS + 1, BINS // 256)}
    return largest * min(divergences, key=divergences.__getitem__) / BINS


def _divergence(seen: np.ndarray, limit: int) -> float:
    """What is lost when all beyond `limit` bins is clipped and the rest told by LEVELS levels, in nats."""
    inside, clipped = seen[:limit], seen[:limit].copy()
    clipped[-1] += seen[limit:].sum()
    level = np.arange(limit) * LEVELS // limit
    held = inside > 0
    shares = np.bincount(level, inside, LEVELS) / np.maximum(np.bincount(level, held, LEVELS), 1.0)
    told = np.where(held, shares[level], 0.0)
    p, q = clipped / clipped.sum(), told / max(told.sum(), 1e-30)
    some = p > 0
    # Where only what was clipped lies, the levels say nothing: a large divergence, not an infinite one.
    return float(np.sum(p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))))
