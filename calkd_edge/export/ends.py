"""Where a classifier's file ends: which value holds its logits, and how the scores it returns come of them.

Read from operators and shapes alone, never from values. A softmax is known as one node, as the log of one,
and written out as exponentials over their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from calkd_edge.errors import RecipeError
from calkd_edge.export.last_layer import REARRANGES
from calkd_edge.onnx_graph import GraphView, attribute

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
Kind = Literal["logits", "softmax", "log_softmax", "probabilities"]

_SPREADS = REARRANGES | {"Expand", "Cast"}
_RETURN_PROBABILITIES = frozenset(
    {"Normalizer", "LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier"}
)
READ_BESIDE = frozenset(
    {"Softmax", "LogSoftmax", "ArgMax", "TopK", "Sub", "ReduceMax", "Exp", "Cast"} | REARRANGES
)
"""Nodes that may read logits: calibration changes what they return, as it should."""


@dataclass(frozen=True)
class Ends:
    """The end of a classifier.

    Attributes:
        logits: the value that a softmax takes, or that is returned without one; for `probabilities`, which no
            node of the file takes a softmax for, the scores themselves.
        scores: the value [N, C] that is returned.
        kind: how the scores come of the logits. `logits` are assumed where no softmax is found.
        softmaxes: how many stand at the end; more than one flattens confidence.
        classes: C.
        half: whether the scores are float16.
        places: axes of length 1 that the logits have behind their classes.
    """

    logits: str
    scores: str
    kind: Kind
    softmaxes: int
    classes: int
    half: bool
    places: int


def find_ends(
    model: onnx.ModelProto,
    *,
    output: str | None = None,
    scores: Literal["logits", "probabilities"] | None = None,
) -> Ends:
    """Where a classifier's logits and scores are.

    Args:
        model: with shapes where its exporter gave them.
        output: name of the output that holds the scores, for files with several.
        scores: what that output is, where it is no softmax and the file's author knows better.

    Raises:
        RecipeError: no output of scores or several, an unknown number of classes, or a sigmoid for each.
    """
    view = GraphView.of(model)
    chosen = _score_output(view, output)
    classes = _classes(model, chosen)
    half = chosen.type.tensor_type.elem_type == TensorProto.FLOAT16
    first = chosen.name
    node = view.producer.get(first)
    if node is not None and node.op_type == "ZipMap":
        first = node.input[0]
    end = _without_rearrangement(view, first)
    kind: Kind = "logits"
    logits, softmaxes = first, 0
    source = softmax_source(view, end)
    node = view.producer.get(end)
    if source is not None:
        kind, logits, softmaxes = "softmax", source, 1
        inner = softmax_source(view, _without_rearrangement(view, source))
        while inner is not None:
            softmaxes += 1
            inner = softmax_source(view, _without_rearrangement(view, inner))
    elif node is not None and node.op_type == "LogSoftmax":
        kind, logits, softmaxes = "log_softmax", node.input[0], 1
    elif node is not None and node.op_type == "Sigmoid":
        raise RecipeError(
            f"the output '{chosen.name}' holds a sigmoid for each class, not one softmax over them",
            remedy="Such models answer several questions at once; calibrate classifiers with one answer.",
        )
    elif scores == "probabilities" or (node is not None and node.op_type in _RETURN_PROBABILITIES):
        kind = "probabilities"
    places = _places(model, logits)
    if node is not None and node.op_type in ("Softmax", "LogSoftmax"):
        _check_axis(model, node, places)
    return Ends(logits, first, kind, softmaxes, classes, half, places)


def _check_axis(model: onnx.ModelProto, node: onnx.NodeProto, places: int) -> None:
    """Refuse a softmax over anything but classes, which stand on axis 1.

    Before opset 13 the default axis is 1, from there on the last.
    """
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    axis = int(attribute(node, "axis", -1 if opset >= 13 else 1))  # type: ignore[call-overload]  # an int
    if axis % (2 + places) != 1:
        raise RecipeError(
            f"the file's softmax runs over axis {axis} of its scores, not over classes (axis 1)",
            remedy="Export it with classes on axis 1, or name another output: --scores-output NAME.",
        )


def softmax_source(view: GraphView, value: str) -> str | None:
    """What a softmax was taken of to give `value`, or None where it is no softmax.

    Subtracting a row's largest number before the exponential, as exporters do, changes no softmax and is
    stepped over.
    """
    node = view.producer.get(value)
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Softmax":
        return str(node.input[0])
    if node.op_type != "Div":
        return None
    power = view.producer.get(node.input[0])
    maker = _behind_spreading(view, node.input[1])
    if power is None or maker is None or power.op_type != "Exp" or maker.op_type != "ReduceSum":
        return None
    if maker.input[0] != power.output[0]:
        return None
    shifted = view.producer.get(power.input[0])
    if shifted is not None and shifted.op_type == "Sub":
        of = _behind_spreading(view, shifted.input[1])
        if of is not None and of.op_type == "ReduceMax" and of.input[0] == shifted.input[0]:
            return str(shifted.input[0])
    return str(power.input[0])


def _behind_spreading(view: GraphView, value: str) -> onnx.NodeProto | None:
    """The node that makes one number for each row, before it was spread over the classes again."""
    while (node := view.producer.get(value)) is not None:
        if node.op_type in _SPREADS:
            value = node.input[0]
        elif node.op_type == "Max" and sum(name in view.initializers for name in node.input) == 1:
            value = next(name for name in node.input if name not in view.initializers)  # at least a number
        else:
            return node
    return None


def refuse_other_readers(model: onnx.ModelProto, ends: Ends) -> None:
    """Refuse logits that something else is computed from, which calibration would change as well.

    Raises:
        RecipeError: naming it.
    """
    readers = GraphView.of(model).consumers[ends.logits]
    other = next((node for node in readers if node.op_type not in READ_BESIDE), None)
    if other is not None and ends.kind != "probabilities":
        raise RecipeError(
            f"the logits '{ends.logits}' are also read by a {other.op_type}, which calibration would change",
            remedy="Export the classifier without that branch.",
        )


def _without_rearrangement(view: GraphView, value: str) -> str:
    while (node := view.producer.get(value)) is not None and node.op_type in REARRANGES:
        value = node.input[0]
    return value


def _score_output(view: GraphView, name: str | None) -> onnx.ValueInfoProto:
    outputs: Sequence[onnx.ValueInfoProto] = list(view.graph.output)
    listed = ", ".join(f"{output.name} {_shape(output)}" for output in outputs)
    if name is not None:
        chosen = next((output for output in outputs if output.name == name), None)
        if chosen is None:
            raise RecipeError(f"the model has no output '{name}'", remedy=f"Its outputs: {listed}.")
        return chosen
    scores = [output for output in outputs if _holds_scores(view, output)]
    if len(scores) == 2 and {output.name for output in scores} == {"logits", "probabilities"}:
        return next(output for output in scores if output.name == "probabilities")
    if len(scores) != 1:
        raise RecipeError(
            f"the model has {len(scores)} outputs of scores among {listed}; a classifier has one, [N, C]",
            remedy="Say which: --scores-output NAME.",
        )
    return scores[0]


def _holds_scores(view: GraphView, output: onnx.ValueInfoProto) -> bool:
    node = view.producer.get(output.name)
    if node is not None and node.op_type == "ZipMap":
        return True
    shape = output.type.tensor_type.shape.dim
    # [N, C], also with axes of one place behind, as convolutional heads return.
    flat = len(shape) >= 2 and all(dim.dim_value == 1 for dim in shape[2:])
    return output.type.tensor_type.elem_type in FLOATS and flat


def _places(model: onnx.ModelProto, value: str) -> int:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {one.name: one for one in (*graph.value_info, *graph.output)}
    shape = known[value].type.tensor_type.shape.dim if value in known else []
    return max(0, len(shape) - 2)


def _shape(output: onnx.ValueInfoProto) -> str:
    dims = output.type.tensor_type.shape.dim
    return f"[{', '.join(str(dim.dim_value or dim.dim_param or '?') for dim in dims)}]"


def _classes(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> int:
    view = GraphView.of(model)
    node = view.producer.get(output.name)
    if node is not None and node.op_type == "ZipMap":
        labels = {item.name: item for item in node.attribute}
        known = [labels[key] for key in ("classlabels_int64s", "classlabels_strings") if key in labels]
        count = len(onnx.helper.get_attribute_value(known[0])) if known else 0
    else:
        shape = output.type.tensor_type.shape.dim
        count = shape[1].dim_value if len(shape) > 1 else 0
    if not count:
        inferred = onnx.shape_inference.infer_shapes(model)
        found = next((one for one in inferred.graph.output if one.name == output.name), None)
        dims = found.type.tensor_type.shape.dim if found is not None else []
        count = dims[1].dim_value if len(dims) > 1 else 0
    if not count:
        raise RecipeError(
            "the model does not say how many classes it has", remedy="Export it with a fixed C."
        )
    return int(count)
