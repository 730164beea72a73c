"""Bias correction: rounding shifts the mean of a layer's output, and a change of its bias shifts it back.

From data, one layer after the other in the order of the graph, with all earlier layers corrected (Nagel et
al., arXiv 1906.04721, section 4.2 and appendix D). The graph is computed in pieces, each up to the next
layer, so that all together cost about one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from calkd_edge.onnx_model.graph import GraphView, copy_of, number_of, read_inside
from calkd_edge.quantization.placement import QUANTIZED
from calkd_edge.quantization.ranges import channel_means, row_means
from calkd_edge.quantization.scales import Scales, on_grid
from calkd_edge.quantization.source import Progress, no_progress

PIXELS = 256 * 32 * 32
FEWEST_IMAGES = 64
"""As many images suffice for the means of channels, and their values fit into memory."""


def with_corrected_biases(
    quantized: onnx.ModelProto,
    model: onnx.ModelProto,
    images: np.ndarray,
    scales: Scales,
    progress: Progress = no_progress,
) -> onnx.ModelProto:
    """A copy of a quantized model whose layers have the channel means of float32.

    Args:
        quantized: `model` as quantized by insert_qdq.
        model: float32.
        images: uint8 [N, 3, H, W]; at most as many are used as have PIXELS pixels, or FEWEST_IMAGES.
        scales: those of `quantized`; dyadic biases stay on their grid.
        progress: called with the number of finished layers and of all layers.
    """
    changed = copy_of(quantized)
    view = GraphView.of(changed)
    layers = {node.output[0]: node for node in view.graph.node if _is_integer(view, node)}
    if not layers:
        return changed
    for node in layers.values():
        _separate_bias(view, node)
    view.drop_unused()
    sample = images[: max(FEWEST_IMAGES, PIXELS // (images.shape[2] * images.shape[3]))]
    expected = channel_means(model, list(layers), sample)
    graph_pieces = PiecewiseGraph(changed, sample)
    for done, (value, node) in enumerate(layers.items()):
        name = node.input[2]
        before = view.array(name)
        shift = expected[value] - row_means(graph_pieces.up_to(node)).mean(0)
        factor = number_of(node, "beta", 1.0)  # of a Gemm
        bias = (before.astype(np.float64) + shift / factor).astype(np.float32)
        if scales == "dyadic":
            activation, weight = (view.array(view.producer[pair].input[1]) for pair in node.input[:2])
            bias = on_grid(bias, float(activation), weight)
        view.overwrite(name, bias)
        graph_pieces.move(value, (bias - before) * np.float32(factor))
        progress(done + 1, len(layers))
    return changed


class PiecewiseGraph:
    """A graph computed step by step, each node as it is written; values are kept while a node reads them.

    Args:
        model: its graph.
        images: uint8 [N, 3, H, W].
    """

    def __init__(self, model: onnx.ModelProto, images: np.ndarray) -> None:
        self.model = model
        self.pending = list(model.graph.node)
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.known: dict[str, np.ndarray] = {model.graph.input[0].name: np.ascontiguousarray(images)}
        self.readers = Counter(name for node in self.pending for name in _read_by(node))

    def up_to(self, last: onnx.NodeProto) -> np.ndarray:
        """The output of a node; pending nodes before it are computed too, each once."""
        count = next(index for index, node in enumerate(self.pending) if node is last) + 1
        piece, self.pending = self.pending[:count], self.pending[count:]
        for node in piece:
            self.readers.subtract(_read_by(node))
        outputs = [name for node in piece for name in node.output if self.readers[name] > 0 or node is last]
        self.known.update(zip(outputs, self._computed(piece, outputs), strict=True))
        result = self.known[last.output[0]]
        self.known = {name: values for name, values in self.known.items() if self.readers[name] > 0}
        return result

    def move(self, value: str, by: np.ndarray) -> None:
        """Add to each channel of a computed value, for the nodes that read it later."""
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
    """The names of all values that a node reads, each once."""
    return list(dict.fromkeys(name for name in (*node.input, *sorted(read_inside(node))) if name))


def _is_integer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node is a Conv or Gemm with a weight stored in int8, and with a stored bias or none.

    A Gemm that multiplies its bias by 0 has none that could be changed.
    """
    if node.op_type not in QUANTIZED or number_of(node, "beta", 1.0) == 0.0:
        return False
    source = view.producer.get(node.input[1])
    has_bias = len(node.input) > 2 and node.input[2] != ""
    is_stored = not has_bias or node.input[2] in view.initializers
    return source is not None and source.op_type == "DequantizeLinear" and is_stored


def _separate_bias(view: GraphView, node: onnx.NodeProto) -> None:
    """Give a layer a bias that no other layer reads."""
    if len(node.input) < 3 or not node.input[2]:
        channels = len(view.array(view.producer[node.input[1]].input[1]))
        bias = view.store(f"{node.name or node.output[0]}_bias", np.zeros(channels, dtype=np.float32))
        del node.input[2:]
        node.input.append(bias)
    elif len(view.consumers[node.input[2]]) > 1:
        node.input[2] = view.store(node.input[2], view.array(node.input[2]))
