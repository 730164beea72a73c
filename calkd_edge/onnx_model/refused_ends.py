"""Ends of a classifier that are refused: without a confidence over its classes, or in an unknown form."""

from __future__ import annotations

import onnx

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.onnx_model.last_layer import LINEAR
from calkd_edge.onnx_model.softmax import AFTERWARDS, behind, softmax_source

_SOFTMAX_LIKE = frozenset(
    {"Softmax", "LogSoftmax", "Exp", "ReduceLogSumExp", "Sigmoid", "If", "Loop", "Scan"}
)
"""Where these follow the last layer in an unknown form, the scores may not be logits."""

_LAST_LAYERS = LINEAR | {
    "ConvInteger",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "Einsum",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
}
"""Operators that make logits, or the integers for them; what stands before says nothing about the scores."""


def refuse_end_without_confidence(view: GraphView, node: onnx.NodeProto | None, output: str) -> None:
    """Refuse scores of which no row is a confidence over the classes.

    Args:
        view: of the graph.
        node: that makes the scores, before casts and the like.
        output: name of the output, for the message.

    Raises:
        RecipeError: naming the operator, and what to export instead.
    """
    if node is None:
        return
    if node.op_type == "Sigmoid":
        raise RecipeError(
            f"the output '{output}' holds a sigmoid for each class, not one softmax over them",
            remedy="Use a classifier with a softmax: models with several labels per image are not supported.",
        )
    if _is_clipped_softmax(view, node):
        raise RecipeError(
            f"the output '{output}' is a softmax that is clipped, so its rows do not sum to 1",
            remedy="Export the classifier without that Clip.",
        )
    if node.op_type == "Hardmax":
        raise RecipeError(
            f"the output '{output}' is a Hardmax: 1 for the predicted class, 0 for the others, and no "
            "confidence",
            remedy="Export the classifier without the Hardmax, or with a softmax in its place.",
        )


def refuse_sorted_scores(view: GraphView, first: str, output: str) -> None:
    """Refuse scores that are sorted: a column of them stands for another class in each image.

    Raises:
        RecipeError: a TopK or a sorting operator stands between the last layer and the scores.
    """
    pending, visited = [first], {first}
    while pending:
        node = view.producer.get(pending.pop())
        if node is None or node.op_type in _LAST_LAYERS:
            continue
        if node.op_type == "TopK":
            raise RecipeError(
                f"the output '{output}' is sorted by a TopK, so its columns are no classes",
                remedy=f"Export what the TopK reads, '{node.input[0]}', as an output.",
            )
        pending += [name for name in node.input if name not in visited]
        visited.update(node.input)


def _is_clipped_softmax(view: GraphView, node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Clip" and softmax_source(view, behind(view, node.input[0], AFTERWARDS)) is not None
    )


def refuse_unknown_end(view: GraphView, first: str, output: str) -> None:
    """Refuse to assume logits where an unknown form of softmax may follow the last layer.

    Raises:
        RecipeError: naming the operator, with the option that says what the scores are.
    """
    pending, visited = [first], {first}
    while pending:
        node = view.producer.get(pending.pop())
        if node is None or node.op_type in _LAST_LAYERS:
            continue
        if node.op_type in _SOFTMAX_LIKE:
            raise RecipeError(
                f"the output '{output}' is computed with a {node.op_type} in an unknown form: the graph does "
                "not tell whether it returns logits",
                remedy="Add --scores probabilities or --scores logits.",
            )
        unvisited = [name for name in node.input if name not in visited]
        pending += unvisited
        visited.update(unvisited)
