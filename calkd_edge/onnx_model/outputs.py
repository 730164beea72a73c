"""Any classifier with outputs of our names: logits, and the probabilities that it ships."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.ends import LEAST_PROBABILITY, find_ends
from calkd_edge.onnx_model.graph import GraphView, copy_of, read_inside
from calkd_edge.onnx_model.names import LOGITS, PROBABILITIES
from calkd_edge.onnx_model.softmax import softmax_source

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


def with_tensors_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same file without outputs that are no tensors; a ZipMap's numbers stand in for its dictionaries."""
    changed = copy_of(model)
    view = GraphView.of(changed)
    kept = []
    for one in view.graph.output:
        node = view.producer.get(one.name)
        if one.type.HasField("tensor_type"):
            kept.append(one)
        elif node is not None and node.op_type == "ZipMap":
            kept.append(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
    del view.graph.output[:]
    view.graph.output.extend(kept)
    GraphView.of(changed).drop_unread()
    return changed


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
    ends = find_ends(model, output=output, scores=scores)
    outputs = [one.name for one in view.graph.output]
    if sorted(outputs) == sorted((LOGITS, PROBABILITIES)) and softmax_source(view, PROBABILITIES) == LOGITS:
        return ends.classes  # in our form already
    batch = next((one for one in view.graph.output if one.name == ends.scores), view.graph.output[0])
    nodes = list(view.graph.node)
    kept = ends.logits
    if ends.kind == "probabilities":
        # A softmax of log p is p: so these are logits of the confidence that the file ships.
        least = view.store("adopted_least", np.asarray(LEAST_PROBABILITY, dtype=np.float32))
        nodes.append(helper.make_node("Max", [ends.scores, least], ["adopted_max"], "adopted_max"))
        nodes.append(helper.make_node("Log", ["adopted_max"], ["adopted_log"], "adopted_log"))
        kept = "adopted_log"
    _rename(view, nodes, kept, "adopted_scores")
    for name in (LOGITS, PROBABILITIES):
        _rename(view, nodes, name, f"adopted_other_{name}")
    flat = "adopted_flat" if ends.half else LOGITS
    nodes.append(helper.make_node("Flatten", ["adopted_scores"], [flat], "adopted_flatten", axis=1))
    if ends.half:
        nodes.append(helper.make_node("Cast", [flat], [LOGITS], "adopted_float", to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "adopted_softmax", axis=1))
    view.replace_nodes(nodes)
    first = batch.type.tensor_type.shape.dim
    size = (first[0].dim_value or first[0].dim_param or "batch") if first else "batch"
    del view.graph.output[:]
    view.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, ends.classes])
        for name in (LOGITS, PROBABILITIES)
    )
    GraphView.of(model).drop_unread()
    return ends.classes


def _rename(view: GraphView, nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Give a value another name wherever it is made, stored or read.

    Raises:
        RecipeError: a branch or a body reads it, which is not followed.
    """
    if any(old in read_inside(node) for node in nodes):
        raise RecipeError(
            f"a branch of the file reads '{old}'",
            remedy="Export the classifier without control flow at its end.",
        )
    for held in (*view.graph.initializer, *view.graph.input):
        if held.name == old:
            held.name = new
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
