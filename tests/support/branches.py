"""The branches of an If, which compute from a value outside."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def negating(value: str) -> dict[str, onnx.GraphProto]:
    """The attributes of an If whose branches negate a value."""
    return {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Neg", [value], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
