"""A classifier of a few nodes, in the form of our exports."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def classifier_model() -> onnx.ModelProto:
    """uint8 images [n, 3, 8, 8] -> logits and probabilities of 5 classes, normalised inside."""
    rng = np.random.default_rng(0)
    numbers = {
        "mean": np.float32(127.5),
        "w": (0.01 * rng.normal(size=(6, 3, 3, 3))).astype(np.float32),
        "head": rng.normal(size=(6, 5)).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["f"], "cast", to=TensorProto.FLOAT),
        node("Sub", ["f", "mean"], ["c"], "center"),
        node("Conv", ["c", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
        node("Relu", ["y"], ["r"], "relu"),
        node("GlobalAveragePool", ["r"], ["g"], "pool"),
        node("Flatten", ["g"], ["v"], "flat"),
        node("Gemm", ["v", "head"], ["logits"], "gemm"),
        node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 3, 8, 8])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
