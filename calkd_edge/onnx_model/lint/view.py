"""A model as the rules see it: nodes, stored numbers, and the type and shape of every value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.onnx_model.graph import GraphView, typed_graph
from calkd_edge.onnx_model.opset import opset_of
from calkd_edge.records import Severity

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QDQ = ("QuantizeLinear", "DequantizeLinear")


class NodeFinding(NamedTuple):
    """A rule's finding at one node."""

    severity: Severity
    node: str
    message: str
    remedy: str


@dataclass(frozen=True)
class InspectedModel:
    """A model and the facts that rules ask for, each computed once.

    Attributes:
        model: as read from the file.
    """

    model: onnx.ModelProto

    @cached_property
    def view(self) -> GraphView:
        """The producer and the consumers of each value."""
        return GraphView.of(self.model)

    @cached_property
    def nodes(self) -> list[onnx.NodeProto]:
        """All nodes of the main graph, in order."""
        return list(self.model.graph.node)

    @cached_property
    def values(self) -> dict[str, onnx.TypeProto.Tensor]:
        """Type and shape of every value, as far as shape inference knows them."""
        graph = typed_graph(self.model)
        typed = (*graph.value_info, *graph.input, *graph.output)
        return {value.name: value.type.tensor_type for value in typed}

    @cached_property
    def constants(self) -> dict[str, onnx.TensorProto]:
        """Stored tensors by name: initializers and Constant nodes."""
        stored = dict(self.view.initializers)
        for node in self.nodes:
            for item in node.attribute if node.op_type == "Constant" else ():
                if item.name == "value":
                    stored[node.output[0]] = item.t
        return stored

    @property
    def opset(self) -> int:
        """Version of the default domain; 0 where the file names none."""
        return opset_of(self.model)

    def kind(self, name: str) -> int:
        """Element type of a value; UNDEFINED where unknown."""
        if name in self.constants:
            return self.constants[name].data_type
        return self.values[name].elem_type if name in self.values else TensorProto.UNDEFINED

    def shape(self, name: str) -> list[int] | None:
        """Sizes of a value, 0 where open; None where unknown."""
        if name in self.constants:
            return list(self.constants[name].dims)
        if name not in self.values or not self.values[name].HasField("shape"):
            return None
        return [max(0, dim.dim_value) for dim in self.values[name].shape.dim]

    def numbers(self, name: str) -> np.ndarray | None:
        """A stored value's numbers; None where it is computed."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def pairs(self) -> Iterator[onnx.NodeProto]:
        """Every QuantizeLinear and DequantizeLinear."""
        return (node for node in self.nodes if node.op_type in QDQ)

    def dequantize_of(self, name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that makes a value, also through reshaping; None if there is none."""
        node = self.view.producer.get(name)
        while node is not None and node.op_type in (
            "Reshape",
            "Transpose",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
        ):
            node = self.view.producer.get(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def is_weight(self, node: onnx.NodeProto) -> bool:
        """Whether a Q or DQ works on stored numbers."""
        source = node.input[0]
        if source in self.constants:
            return True
        before = self.view.producer.get(source)
        return before is not None and before.op_type == "QuantizeLinear" and before.input[0] in self.constants


Rule = Callable[[InspectedModel], Iterator[NodeFinding]]


def type_name(kind: int) -> str:
    """The name of an element type in lower case: int8, float16."""
    return str(TensorProto.DataType.Name(kind)).lower()


def node_name(node: onnx.NodeProto) -> str:
    """A node's name, or that of its first output."""
    return node.name or (node.output[0] if node.output else node.op_type)


def option(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    value = next((item for item in node.attribute if item.name == name), None)
    return default if value is None else int(helper.get_attribute_value(value))
