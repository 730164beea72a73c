"""The readers of a classifier's logits besides its confidence: calibration would change their results too."""

from __future__ import annotations

import onnx

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.classifier_output import RETURN_PROBABILITIES, ClassifierOutput
from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.onnx_model.softmax import AFTERWARDS, behind, softmax_source

_CONFIDENCE_READERS = AFTERWARDS | {
    "Softmax",
    "LogSoftmax",
    "ArgMax",
    "TopK",
    "ZipMap",
    "ArrayFeatureExtractor",
    "Sub",
    "Max",
    "ReduceMax",
    "Exp",
    "ReduceSum",
    "Expand",
    "Div",
    "Gather",
    "GatherElements",
}
"""Operators between logits and outputs: they compute confidence and the predicted class."""


def refuse_other_readers(model: onnx.ModelProto, output: ClassifierOutput) -> None:
    """Refuse logits from which the file computes more than confidence: calibration would change that too.

    Raises:
        RecipeError: naming the other reader.
    """
    view = GraphView.of(model)
    pending, visited = [output.logits if output.kind != "probabilities" else output.scores], set()
    while pending:
        value = pending.pop()
        for node in view.consumers[value]:
            known = node.op_type in _CONFIDENCE_READERS or (
                node.op_type == "Log" and softmax_source(view, node.input[0]) is not None
            )
            if not known:
                raise RecipeError(
                    f"'{value}', which depends on the logits '{output.logits}', is also read by a "
                    f"{node.op_type}, whose result calibration would change",
                    remedy="Export the classifier without that branch.",
                )
            pending += [name for name in node.output if name not in visited]
            visited.update(node.output)


def computes_label_separately(model: onnx.ModelProto, output: ClassifierOutput) -> bool:
    """Whether the node that computes the probabilities also predicts a class, which no map could change."""
    node = GraphView.of(model).producer.get(
        behind(GraphView.of(model), output.scores, AFTERWARDS | {"Normalizer"})
    )
    return node is not None and node.op_type in RETURN_PROBABILITIES
