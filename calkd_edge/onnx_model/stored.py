"""Numbers that nodes only copy, cast or rearrange, stored: exporters write weights in many such ways.

In scope: rewriting that keeps every number. Out of scope: arithmetic, integers that stand for floats.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calkd_edge.onnx_model.graph import GraphView, copy_of

REARRANGING = (
    "Cast",
    "ConstantOfShape",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


def with_stored_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose Constants are initializers, and what is only a copy, cast or rearrangement of such."""
    changed = copy_of(model)
    view = GraphView.of(changed)
    kept = []
    for node in view.graph.node:
        results = _results(changed, view, node)
        if results is None:
            kept.append(node)
        else:
            view.initializers.update(zip(node.output, results, strict=True))
            view.graph.initializer.extend(results)
    if len(kept) < len(view.graph.node):
        view.replace_nodes(kept)
    return changed


def results_of(
    model: onnx.ModelProto, node: onnx.NodeProto, stored: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The values that a node of a model computes, by onnx's reference, from those that it reads."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in stored.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "alone", inputs, outputs)
    alone = helper.make_model(graph, opset_imports=list(model.opset_import))
    return [np.asarray(values) for values in ReferenceEvaluator(alone).run(None, dict(stored))]


def _results(model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto) -> list[onnx.TensorProto] | None:
    """What a node makes, as tensors of its outputs' names; None where it has to stay."""
    names = set(node.input) - {""}
    is_constant = node.op_type == "Constant" or (bool(names) and node.op_type in REARRANGING)
    if not is_constant or node.domain not in ("", "ai.onnx") or not names <= view.initializers.keys():
        return None
    if any(view.is_output(name) for name in node.output):
        return None
    results = results_of(model, node, {name: view.array(name) for name in names})
    if any(values.dtype.kind not in "fiub" for values in results):  # texts, sparse or 4-bit numbers
        return None
    return [numpy_helper.from_array(values, name) for name, values in zip(node.output, results, strict=True)]
