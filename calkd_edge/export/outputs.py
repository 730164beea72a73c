"""Any classifier with outputs of our names: logits, and the probabilities that it ships."""

from __future__ import annotations

from typing import Literal

import onnx
from onnx import TensorProto, helper

from calkd_edge.errors import RecipeError
from calkd_edge.export.ends import find_ends
from calkd_edge.export.onnx_export import LOGITS, PROBABILITIES
from calkd_edge.onnx_graph import GraphView, copy_of

Scores = Literal["logits", "probabilities"]


def adopt_outputs(
    model: onnx.ModelProto, *, output: str | None = None, scores: Scores | None = None
) -> onnx.ModelProto:
    """The same classifier with its own inputs, and logits and probabilities as its outputs.

    Raises:
        RecipeError: see `ends.find_ends`.
    """
    adopted = copy_of(model)
    one_input(adopted.graph)
    wrap_outputs(adopted, output, scores)
    return adopted


def one_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The one input that is no stored number.

    Raises:
        RecipeError: there are several.
    """
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise RecipeError(
            f"the model has {len(inputs)} inputs ({', '.join(v.name for v in inputs)}), a classifier has one",
            remedy="Export the image branch alone.",
        )
    only: onnx.ValueInfoProto = inputs[0]
    return only


def wrap_outputs(model: onnx.ModelProto, output: str | None, scores: Scores | None) -> int:
    """Name logits and probabilities; returns C.

    Where the file ends in a softmax, that is the confidence it ships, and what goes into it are its logits:
    also when a softmax goes into it, as in files that take it twice. Values are renamed, not copied: a
    calibration is then folded into the layer that gives the logits.
    """
    view = GraphView.of(model)
    if output is None and {LOGITS, PROBABILITIES} <= {one.name for one in view.graph.output}:
        ours = next(one for one in view.graph.output if one.name == LOGITS)
        return int(ours.type.tensor_type.shape.dim[-1].dim_value)
    ends = find_ends(model, output=output, scores=scores)
    batch = next((one for one in view.graph.output if one.name == ends.scores), view.graph.output[0])
    nodes = list(view.graph.node)
    kept = ends.logits
    if ends.kind == "probabilities":
        # A softmax of log p is p: so these are logits of the confidence that the file ships.
        nodes.append(helper.make_node("Log", [ends.scores], ["adopted_log"], "adopted_log"))
        kept = "adopted_log"
    _rename(nodes, kept, "adopted_scores")
    for name in (LOGITS, PROBABILITIES):
        _rename(nodes, name, f"adopted_other_{name}")
    nodes.append(helper.make_node("Flatten", ["adopted_scores"], [LOGITS], "adopted_flatten", axis=1))
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "adopted_softmax", axis=1))
    view.replace_nodes(nodes)
    first = batch.type.tensor_type.shape.dim
    size = (first[0].dim_value or first[0].dim_param or "batch") if first else "batch"
    kind = TensorProto.FLOAT16 if ends.half else TensorProto.FLOAT
    del view.graph.output[:]
    view.graph.output.extend(
        helper.make_tensor_value_info(name, kind, [size, ends.classes]) for name in (LOGITS, PROBABILITIES)
    )
    GraphView.of(model).drop_unread()
    return ends.classes


def _rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Give a value another name wherever it is made or read."""
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
