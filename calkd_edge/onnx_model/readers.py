"""Who reads a classifier's logits besides its confidence: what calibration would change unasked."""

from __future__ import annotations

import onnx

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.ends import RETURN_PROBABILITIES, Ends
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
"""What may come of logits up to the outputs: confidence and the class it names, which calibration changes."""


def refuse_other_readers(model: onnx.ModelProto, ends: Ends) -> None:
    """Refuse logits from which something else than confidence is computed, which calibration would change.

    Raises:
        RecipeError: naming it.
    """
    view = GraphView.of(model)
    waiting, seen = [ends.logits if ends.kind != "probabilities" else ends.scores], set()
    while waiting:
        value = waiting.pop()
        for node in view.consumers[value]:
            known = node.op_type in _CONFIDENCE_READERS or (
                node.op_type == "Log" and softmax_source(view, node.input[0]) is not None
            )
            if not known:
                raise RecipeError(
                    f"'{value}', which comes of the logits '{ends.logits}', is also read by a "
                    f"{node.op_type}, whose result calibration would change",
                    remedy="Export the classifier without that branch.",
                )
            waiting += [name for name in node.output if name not in seen]
            seen.update(node.output)


def labels_are_made_elsewhere(model: onnx.ModelProto, ends: Ends) -> bool:
    """Whether the node that makes the probabilities names a class as well, which no map could follow."""
    node = GraphView.of(model).producer.get(
        behind(GraphView.of(model), ends.scores, AFTERWARDS | {"Normalizer"})
    )
    return node is not None and node.op_type in RETURN_PROBABILITIES
