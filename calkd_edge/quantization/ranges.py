"""Activation ranges: how large the values at a place in an ONNX graph get, over training images.

Ranges are the statistics of int8; they have nothing to do with calibrating confidence. They are collected
with the float32 graph in ONNX Runtime on the host; nothing that ships is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from calkd_edge.onnx_graph import copy_of
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
        progress: called with images read and images to read.
    """
    session = _session(model, names)
    feed = session.get_inputs()[0].name
    found = Magnitudes(names, method)
    for this_pass in range(found.passes):
        for start in range(0, len(images), IMAGES_PER_RUN):
            batch = np.ascontiguousarray(images[start : start + IMAGES_PER_RUN])
            for name, values in zip(names, session.run(list(names), {feed: batch}), strict=True):
                found.see(this_pass, name, values)
            progress(this_pass * len(images) + start + len(batch), found.passes * len(images))
    return found.ranges()


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
