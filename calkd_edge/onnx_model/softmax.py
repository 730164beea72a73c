"""Softmaxes in the forms that exporters write, and what may stand behind one."""

from __future__ import annotations

import onnx

from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.onnx_model.last_layer import REARRANGES, reduced_axes

MOVES = REARRANGES | {"Transpose"}
_SPREADS = MOVES | {"Expand", "Cast"}
AFTERWARDS = MOVES | {"Cast", "QuantizeLinear", "DequantizeLinear", "Clip"}
"""What may stand behind a softmax without making its result another confidence."""


def softmax_source(view: GraphView, value: str) -> str | None:
    """What a softmax was taken of to give `value`, or None where it is no softmax.

    Subtracting a row's largest number before the exponential, as exporters do, changes no softmax and is
    stepped over.
    """
    node = view.producer.get(value)
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Softmax":
        return str(node.input[0])
    if node.op_type != "Div":
        return None
    power = view.producer.get(node.input[0])
    maker = _behind_spreading(view, node.input[1])
    if power is None or maker is None or power.op_type != "Exp" or maker.op_type != "ReduceSum":
        return None
    if maker.input[0] != power.output[0] or reduced_axes(view, maker) not in ([1], [-1]):
        return None
    shifted = view.producer.get(power.input[0])
    if shifted is not None and shifted.op_type == "Sub":
        of = _behind_spreading(view, shifted.input[1])
        if of is not None and of.op_type == "ReduceMax" and of.input[0] == shifted.input[0]:
            return str(shifted.input[0])
    return str(power.input[0])


def _behind_spreading(view: GraphView, value: str) -> onnx.NodeProto | None:
    """The node that makes one number for each row, before it was spread over the classes again."""
    while (node := view.producer.get(value)) is not None:
        if node.op_type in _SPREADS:
            value = node.input[0]
        elif node.op_type == "Max" and sum(name in view.initializers for name in node.input) == 1:
            value = next(name for name in node.input if name not in view.initializers)  # at least a number
        else:
            return node
    return None


def behind(view: GraphView, value: str, passed: frozenset[str]) -> str:
    """The value from which only nodes of these kinds have made `value`."""
    while (node := view.producer.get(value)) is not None and node.op_type in passed:
        value = node.input[0]
    return value
