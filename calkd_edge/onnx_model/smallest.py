"""The smallest classifier in the form of our exports: to try on a device whether a runtime opens any file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.onnx_model.names import INPUT, LOGITS, PROBABILITIES

SHAPE = (3, 4, 4)
"""Of its images."""


def smallest_classifier() -> onnx.ModelProto:
    """uint8 images [n, 3, 4, 4] -> logits and probabilities of two classes."""
    weights = numpy_helper.from_array(np.eye(3, 2, dtype=np.float32), "weights")
    nodes = [
        helper.make_node("Cast", [INPUT], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "weights"], [LOGITS], "head"),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "smallest",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *SHAPE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
            for name in (LOGITS, PROBABILITIES)
        ],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
