"""Bias correction: rounding moves the mean of what a layer returns, and its bias can move it back.

By data, one layer after the other in the order of the graph, each with all before it corrected already (Nagel
et al., arXiv 1906.04721, section 4.2 and appendix D). The graph is computed piece by piece, each piece up to
the next layer, so that all of them together cost about one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from calkd_edge.onnx_model.graph import GraphView, copy_of, read_inside
from calkd_edge.quantization.placement import QUANTIZED
from calkd_edge.quantization.ranges import channel_means, image_means
from calkd_edge.quantization.scales import Scales, on_grid
from calkd_edge.quantization.source import Progress, unheard

PIXELS = 256 * 32 * 32
FEWEST_IMAGES = 64
"""So many images suffice for the means of channels, and their values fit into memory."""


def with_corrected_biases(
    quantized: onnx.ModelProto,
    model: onnx.ModelProto,
    images: np.ndarray,
    scales: Scales,
    progress: Progress = unheard,
) -> onnx.ModelProto:
    """A copy of a quantized model whose layers return, in the mean of each channel, what float32 returns.

    Args:
        quantized: what place_qdq made of `model`.
        model: float32.
        images: uint8 [N, 3, H, W]; at most as many are used as have PIXELS pixels, or FEWEST_IMAGES.
        scales: those of `quantized`; dyadic biases stay on their grid.
        progress: called with layers done and layers to do.
    """
    changed = copy_of(quantized)
    view = GraphView.of(changed)
    layers = {node.output[0]: node for node in view.graph.node if _is_integer(view, node)}
    if not layers:
        return changed
    for node in layers.values():
        _own_bias(view, node)
    view.drop_unused()
    seen = images[: max(FEWEST_IMAGES, PIXELS // (images.shape[2] * images.shape[3]))]
    wanted = channel_means(model, list(layers), seen)
    pieces = Pieces(changed, seen)
    for done, (value, node) in enumerate(layers.items()):
        name = node.input[2]
        before = view.array(name)
        off = wanted[value] - image_means(pieces.up_to(node)).mean(0)
        bias = (before.astype(np.float64) + off).astype(np.float32)
        if scales == "dyadic":
            activation, weight = (view.array(view.producer[pair].input[1]) for pair in node.input[:2])
            bias = on_grid(bias, float(activation), weight)
        view.overwrite(name, bias)
        pieces.move(value, bias - before)
        progress(done + 1, len(layers))
    return changed


class Pieces:
    """A graph computed from one node to the next, each node as it is written; what is still read is kept.

    Args:
        model: its graph.
        images: uint8 [N, 3, H, W].
    """

    def __init__(self, model: onnx.ModelProto, images: np.ndarray) -> None:
        self.model = model
        self.waiting = list(model.graph.node)
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.known: dict[str, np.ndarray] = {model.graph.input[0].name: np.ascontiguousarray(images)}
        self.readers = Counter(name for node in self.waiting for name in _read_by(node))

    def up_to(self, last: onnx.NodeProto) -> np.ndarray:
        """What a node returns; nodes before it are computed as well, once."""
        count = next(place for place, node in enumerate(self.waiting) if node is last) + 1
        piece, self.waiting = self.waiting[:count], self.waiting[count:]
        for node in piece:
            self.readers.subtract(_read_by(node))
        made = [name for node in piece for name in node.output if self.readers[name] > 0 or node is last]
        self.known.update(zip(made, self._computed(piece, made), strict=True))
        found = self.known[last.output[0]]
        self.known = {name: values for name, values in self.known.items() if self.readers[name] > 0}
        return found

    def move(self, value: str, by: np.ndarray) -> None:
        """Add to each channel of a value that was computed, for what is computed from it."""
        if value in self.known:
            values = self.known[value]
            values += by.reshape(-1, *[1] * (values.ndim - 2))

    def _computed(self, piece: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[np.ndarray]:
        read = dict.fromkeys(name for node in piece for name in _read_by(node))
        feeds = {name: self.known[name] for name in read if name in self.known}
        graph = helper.make_graph(
            list(piece),
            "piece",
            [_declared(name, values) for name, values in feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [self.stored[name] for name in read if name in self.stored],
        )
        model = helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(list(outputs), feeds))


def _declared(name: str, values: np.ndarray) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    return helper.make_tensor_value_info(name, kind, values.shape)


def _read_by(node: onnx.NodeProto) -> list[str]:
    """Every value that a node reads, each once."""
    return list(dict.fromkeys(name for name in (*node.input, *sorted(read_inside(node))) if name))


def _is_integer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node is a Conv or Gemm whose weight is stored in int8, with a stored bias or none."""
    if node.op_type not in QUANTIZED:
        return False
    source = view.producer.get(node.input[1])
    has_bias = len(node.input) > 2 and node.input[2] != ""
    is_stored = not has_bias or node.input[2] in view.initializers
    return source is not None and source.op_type == "DequantizeLinear" and is_stored


def _own_bias(view: GraphView, node: onnx.NodeProto) -> None:
    """Give a layer a bias that no other layer reads."""
    if len(node.input) < 3 or not node.input[2]:
        channels = len(view.array(view.producer[node.input[1]].input[1]))
        bias = view.store(f"{node.name or node.output[0]}_bias", np.zeros(channels, dtype=np.float32))
        del node.input[2:]
        node.input.append(bias)
    elif len(view.consumers[node.input[2]]) > 1:
        node.input[2] = view.store(node.input[2], view.array(node.input[2]))
