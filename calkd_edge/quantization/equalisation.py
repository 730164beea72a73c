"""Cross-layer equalisation: the channels of an activation get similar ranges, so that one scale fits all.

A convolution's output channel is divided by a factor and the next convolution's weights of that channel are
multiplied by it, which changes no result where the nodes in between are homogeneous (Nagel et al., arXiv
1906.04721, section 4.1). In that paper the ranges are those of both weights. Here weights have a scale for
each output channel, so only the single scale of the activation can gain, at the cost of the columns of the
weight that reads it: the factor is the geometric mean of both, as in Xiao et al., arXiv 2211.10438, equation
4. A depthwise convolution has a scale for each of its channels, and gets the full factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.ranges import channel_maxima

LARGEST_FACTOR = 64.0
HEADROOM = 1.1
"""How far below a clip's limit a channel's largest value must stay: other images may have larger ones."""


@dataclass(frozen=True)
class Pair:
    """Two convolutions of which the second is the only reader of the first.

    Attributes:
        first: makes the value.
        between: the output of the activation function, or of the first convolution.
        second: reads it.
        limit: where the activation function clips; infinite where it does not.
    """

    first: onnx.NodeProto
    between: str
    second: onnx.NodeProto
    limit: float


def equalise_channels(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """A copy of a float32 model that computes the same with more even channels.

    Args:
        model: float32, weights stored in the graph.
        images: uint8 [N, 3, H, W], to measure the largest value of each channel. With a Clip, the copy
            computes the same on these images, and on others whose channels are at most HEADROOM times larger.
    """
    changed = copy_of(model)
    view = GraphView.of(changed)
    pairs = pairs_of(view)
    if not pairs:
        return changed
    largest = channel_maxima(model, [pair.between for pair in pairs], images)
    for pair in pairs:
        factor = _factor(view, pair, largest[pair.between])
        _scale_first(view, pair.first, 1.0 / factor)
        _scale_second(view, pair.second, factor)
    return changed


def pairs_of(view: GraphView) -> list[Pair]:
    """Every pair of convolutions whose channels may be scaled between them."""
    pairs = []
    for node in view.graph.node:
        if node.op_type != "Conv" or not has_unshared_weights(view, node):
            continue
        value, limit = node.output[0], np.inf
        reader = view.only_reader(value)
        if reader is not None and reader.op_type in ("Relu", "Clip"):
            end = np.inf if reader.op_type == "Relu" else _clipped_at(view, reader)
            if end is None:
                continue
            value, limit = reader.output[0], end
            reader = view.only_reader(value)
        if reader is not None and reader.op_type == "Conv" and has_unshared_weights(view, reader):
            pairs.append(Pair(node, value, reader, limit))
    return pairs


def has_unshared_weights(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether the weight and bias of a node are stored, and no other node reads them."""
    stored = [name for name in node.input[1:] if name]
    return all(name in view.initializers and len(view.consumers[name]) == 1 for name in stored)


def _clipped_at(view: GraphView, node: onnx.NodeProto) -> float | None:
    """The upper limit of a Clip from 0; None for any other, which is not homogeneous."""
    ends = [*node.input[1:], "", ""][:2]
    if any(name and name not in view.initializers for name in ends) or not ends[0]:
        return None
    if float(view.array(ends[0])) != 0.0:
        return None
    return float(view.array(ends[1])) if ends[1] else np.inf


def _factor(view: GraphView, pair: Pair, largest: np.ndarray) -> np.ndarray:
    """The divisor of each channel, [C] > 0; 1 for a channel that is always 0 or clipped."""
    alive = largest > 0
    share = np.where(alive, largest / max(float(largest.max()), 1e-30), 1.0)
    weight = np.abs(view.array(pair.second.input[1]).astype(np.float64))
    factor = share if weight.shape[1] == 1 else np.sqrt(share / _columns(weight, len(share)))
    factor = np.clip(factor, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    if np.isfinite(pair.limit):
        # Divided by a factor, it is clipped at limit x factor: that must exceed all measured values.
        factor = np.maximum(factor, HEADROOM * largest / pair.limit)
        factor = np.where(largest * HEADROOM >= pair.limit, 1.0, factor)
    return np.where(alive, factor, 1.0)


def _columns(weight: np.ndarray, channels: int) -> np.ndarray:
    """By input channel, the largest weight relative to the largest of its row, over all rows, [C]."""
    rows = weight.reshape(*weight.shape[:2], -1).max(2)
    rows = rows / np.maximum(rows.max(1, keepdims=True), 1e-30)
    columns = rows.reshape(channels // rows.shape[1], -1, rows.shape[1]).max(1).reshape(-1)
    shares: np.ndarray = np.maximum(columns, 1e-6)
    return shares


def _scale_first(view: GraphView, node: onnx.NodeProto, factor: np.ndarray) -> None:
    for name in filter(None, node.input[1:]):
        values = view.array(name)
        view.overwrite(name, (values * factor.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32))


def _scale_second(view: GraphView, node: onnx.NodeProto, factor: np.ndarray) -> None:
    weight = view.array(node.input[1])
    outputs, inputs = weight.shape[:2]
    # Each group of rows reads a different part of the channels.
    by_group = factor.reshape(-1, 1, inputs)
    rows = np.repeat(by_group, outputs // len(by_group), 1).reshape(outputs, inputs, *[1] * (weight.ndim - 2))
    view.overwrite(node.input[1], (weight * rows).astype(np.float32))
