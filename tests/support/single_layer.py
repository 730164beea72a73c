"""A single convolution or linear layer after an activation named h."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def single_layer(weight, bias) -> onnx.ModelProto:
    stored = {"w": weight, "b": bias, "zero": np.array(0, np.float32)}
    shape = ["batch", 2, 4, 4] if weight.ndim == 4 else ["batch", 6]
    if weight.ndim == 4:
        node = helper.make_node("Conv", ["h", "w", "b"], ["logits"], kernel_shape=[1, 1])
    else:
        node = helper.make_node("Gemm", ["h", "w", "b"], ["logits"])
    rank = ["batch", len(bias), 4, 4][: weight.ndim]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "zero"], ["h"]), node],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, rank)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
