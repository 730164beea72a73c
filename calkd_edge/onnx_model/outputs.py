"""Any classifier with our outputs: logits, and the probabilities that it returns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.classifier_output import LEAST_PROBABILITY, ClassifierOutput, find_output
from calkd_edge.onnx_model.graph import GraphView, copy_of, read_inside
from calkd_edge.onnx_model.names import LOGITS, PROBABILITIES
from calkd_edge.onnx_model.reading import Scores
from calkd_edge.onnx_model.softmax import softmax_source


def adopt_outputs(
    model: onnx.ModelProto, *, output: str | None = None, scores: Scores | None = None
) -> onnx.ModelProto:
    """The same classifier with its inputs unchanged, and logits and probabilities as its outputs.

    Raises:
        RecipeError: see `classifier_output.find_output`.
    """
    adopted = copy_of(model)
    single_input(adopted.graph)
    wrap_outputs(adopted, output, scores)
    return adopted


def with_tensors_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without outputs that are not tensors; a ZipMap's numbers replace its dictionaries."""
    changed = copy_of(model)
    view = GraphView.of(changed)
    kept = []
    for output in view.graph.output:
        node = view.producer.get(output.name)
        if output.type.HasField("tensor_type"):
            kept.append(output)
        elif node is not None and node.op_type == "ZipMap":
            kept.append(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
    del view.graph.output[:]
    view.graph.output.extend(kept)
    GraphView.of(changed).drop_unread()
    return changed


def single_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The only input of a graph that is not a stored tensor.

    Raises:
        RecipeError: there are several.
    """
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise RecipeError(
            f"the model has {len(inputs)} inputs ({', '.join(v.name for v in inputs)}), a classifier has one",
            remedy="Export the branch that reads the image alone, or save its outputs with labels: "
            "calkd-edge calibrate --predictions FILE.npz",
        )
    only: onnx.ValueInfoProto = inputs[0]
    return only


def wrap_outputs(model: onnx.ModelProto, output: str | None, scores: Scores | None) -> ClassifierOutput:
    """Rename the outputs to logits and probabilities, in place; returns what they were.

    Where the file ends in a softmax, that is its confidence, and the input of the softmax are its logits;
    also when that input is itself a softmax, as in files that apply it twice. Values are renamed, not copied:
    a calibration can then be folded into the layer that makes the logits.
    """
    view = GraphView.of(model)
    classifier = find_output(model, output=output, scores=scores)
    returned = {value.name: value for value in view.graph.output}
    if set(returned) == {LOGITS, PROBABILITIES} and softmax_source(view, PROBABILITIES) == LOGITS:
        return classifier  # in our form already
    batch = returned.get(classifier.scores, view.graph.output[0])
    nodes = list(view.graph.node)
    kept = classifier.logits
    if classifier.kind == "probabilities":
        # A softmax of log p is p: these are logits of the confidence that the file returns.
        source = classifier.scores
        if classifier.half:
            source = "adopted_wide"
            nodes.append(
                helper.make_node("Cast", [classifier.scores], [source], "adopted_wide", to=TensorProto.FLOAT)
            )
        least = view.store("adopted_least", np.asarray(LEAST_PROBABILITY, dtype=np.float32))
        nodes.append(helper.make_node("Max", [source, least], ["adopted_max"], "adopted_max"))
        nodes.append(helper.make_node("Log", ["adopted_max"], ["adopted_log"], "adopted_log"))
        kept = "adopted_log"
    _rename(view, nodes, kept, "adopted_scores")
    for name in (LOGITS, PROBABILITIES):
        _rename(view, nodes, name, f"adopted_other_{name}")
    flat = "adopted_flat" if classifier.half else LOGITS
    nodes.append(helper.make_node("Flatten", ["adopted_scores"], [flat], "adopted_flatten", axis=1))
    if classifier.half:
        nodes.append(helper.make_node("Cast", [flat], [LOGITS], "adopted_float", to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], "adopted_softmax", axis=1))
    view.replace_nodes(nodes)
    first = batch.type.tensor_type.shape.dim
    size = (first[0].dim_value or first[0].dim_param or "batch") if first else "batch"
    del view.graph.output[:]
    view.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, classifier.classes])
        for name in (LOGITS, PROBABILITIES)
    )
    GraphView.of(model).drop_unread()
    return classifier


def reorder_classes(model: onnx.ModelProto, positions: Sequence[int]) -> None:
    """Give classes another order, in place: the n-th class becomes what was at `positions[n]`."""
    view = GraphView.of(model)
    nodes = list(view.graph.node)
    order = view.store("adopted_order", np.asarray(positions, dtype=np.int64))
    for name in (LOGITS, PROBABILITIES):
        before = f"adopted_unordered_{name}"
        _rename(view, nodes, name, before)
        nodes.append(helper.make_node("Gather", [before, order], [name], f"adopted_order_{name}", axis=1))
    view.replace_nodes(nodes)


def _rename(view: GraphView, nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Rename a value wherever it is made, stored or read.

    Raises:
        RecipeError: a branch or a body reads it.
    """
    if any(old in read_inside(node) for node in nodes):
        raise RecipeError(
            f"a branch of the file reads '{old}'",
            remedy="Export the classifier without control flow at its end.",
        )
    for item in (*view.graph.initializer, *view.graph.input):
        if item.name == old:
            item.name = new
    for node in nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
