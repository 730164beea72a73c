"""The state of a translation: the tensor of each value, and the nodes that can be fused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from calkd_edge.errors import StageFailed
from calkd_edge.export.litert.file import LiteFile
from calkd_edge.export.litert.layout import Value, as_it_is
from calkd_edge.onnx_model.graph import GraphView, attribute

REMEDY = "Remove litert from devices for this model, or use another student."


@dataclass(frozen=True)
class Weight:
    """Stored int8 numbers, with a scale for each row or one for all.

    Attributes:
        values: in ONNX's order, output channels first.
        scale: [] or [O].
    """

    values: np.ndarray
    scale: np.ndarray


@dataclass
class Translation:
    """A graph that is being written into a file.

    Attributes:
        view: of the graph.
        shapes: of every value.
        file: the file under construction.
        values: float values that exist as tensors.
        integers: int8 values that exist as tensors, by the name of QuantizeLinear's output.
        pending: name of a dequantized activation -> name in `integers`; dequantized when a node reads floats.
        weights: stored int8 weights by the name of their DequantizeLinear's output.
        done: names of values that an operator of another node makes already.
    """

    view: GraphView
    shapes: dict[str, tuple[int, ...]]
    file: LiteFile = field(default_factory=LiteFile)
    values: dict[str, Value] = field(default_factory=dict)
    integers: dict[str, Value] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def is_stored(self, name: str) -> bool:
        """Whether the graph stores this value."""
        return name in self.view.initializers

    def array(self, name: str) -> np.ndarray:
        """The stored numbers, floats as float32."""
        values = self.view.array(name)
        return values.astype(np.float32) if values.dtype.kind == "f" else values

    def value(self, name: str) -> Value:
        """A value as float32 (or an image as uint8), dequantized on its first use."""
        if name in self.pending and name not in self.values:
            source = self.integers[self.pending[name]]
            result = self.new(name, source.shape, source.order)
            self.file.operator("DEQUANTIZE", [source.tensor], [result.tensor], "DequantizeOptions")
        if name not in self.values and self.is_stored(name):
            values = self.array(name)
            number = self.file.constant(name, values)
            self.values[name] = Value(number, values.shape, as_it_is(values.ndim), str(values.dtype))
        return self.values[name]

    def new(
        self, name: str, shape: tuple[int, ...], order: tuple[int, ...], *, scale: float | None = None
    ) -> Value:
        """Add a tensor for the output of an operator: int8 where it has a scale, else float32."""
        lies = tuple(shape[axis] for axis in order)
        kind = "float32" if scale is None else "int8"
        result = Value(self.file.tensor(name, lies, kind, scale=scale), shape, order, kind, scale)
        (self.values if scale is None else self.integers)[name] = result
        return result

    def numbers(self, name: str, values: np.ndarray) -> int:
        """Store numbers in the file, named after a value of the graph."""
        return self.file.constant(name, np.asarray(values))

    def code(self, enumeration: str, name: str) -> int:
        """The number of a name in an enumeration of the schema."""
        return int(getattr(getattr(self.file.schema, enumeration), name))

    def activated(self, name: str) -> tuple[str, str]:
        """The activation function that is a value's only reader, and its output; ("NONE", name) if none."""
        reader = self.view.only_reader(name)
        kind = None if reader is None else activation(self, reader)
        if reader is None or kind is None:
            return "NONE", name
        self.done.add(reader.output[0])
        return kind, reader.output[0]

    def quantized_next(self, name: str) -> onnx.NodeProto | None:
        """The QuantizeLinear that is a value's only reader, after an activation function or not."""
        reader = self.view.only_reader(name)
        if reader is not None and activation(self, reader) is not None:
            reader = self.view.only_reader(reader.output[0])
        return reader if reader is not None and reader.op_type == "QuantizeLinear" else None


def activation(translation: Translation, node: onnx.NodeProto) -> str | None:
    """The name of an activation function that LiteRT can fuse into a layer, or None."""
    if node.op_type == "Relu":
        return "RELU"
    if node.op_type != "Clip":
        return None
    ends = limits(translation, node)
    return {(0.0, 6.0): "RELU6", (0.0, np.inf): "RELU", (-1.0, 1.0): "RELU_N1_TO_1"}.get(ends)


def limits(translation: Translation, node: onnx.NodeProto) -> tuple[float, float]:
    """The limits of a Clip."""
    named = [*node.input[1:], "", ""][:2]
    if any(name and not translation.is_stored(name) for name in named):
        raise refused(node, "its limits are computed")
    low, high = (
        float(translation.array(name)) if name else end
        for name, end in zip(named, (-np.inf, np.inf), strict=True)
    )
    largest = float(np.finfo(np.float16).max)
    return (-np.inf if low <= -largest else low, np.inf if high >= largest else high)


def refused(node: onnx.NodeProto, why: str) -> StageFailed:
    """The error for a node that has no counterpart."""
    name = node.name or (node.output[0] if node.output else "")
    return StageFailed(f"LiteRT: {node.op_type} '{name}' cannot be converted: {why}", remedy=REMEDY)


def numbers_of(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    """The value of an attribute that is a list of integers."""
    values: Any = attribute(node, name, default)
    return [int(value) for value in values]


def check_symmetric(translation: Translation, node: onnx.NodeProto) -> None:
    """Refuse zero points other than 0.

    Raises:
        StageFailed: naming the node.
    """
    stored = len(node.input) > 2 and translation.is_stored(node.input[2])
    zero = translation.view.array(node.input[2]) if stored else None
    if zero is None or zero.dtype != np.int8 or zero.any():
        raise refused(node, "it is not symmetric int8: convert the canonical file, not one derived from it")
