"""The output of a classifier: which value holds its logits, and how the returned scores follow from them.

Read from operators and shapes alone, never from values. A softmax is recognised as one node, as the log of
one, and as exponentials divided by their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.graph import GraphView, attribute, number_of, typed_graph
from calkd_edge.onnx_model.refused_ends import (
    refuse_end_without_confidence,
    refuse_sorted_scores,
    refuse_unknown_end,
)
from calkd_edge.onnx_model.softmax import AFTERWARDS, MOVES, behind, softmax_source

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
Kind = Literal["logits", "softmax", "log_softmax", "probabilities"]

LARGEST_BYTES = 1_900_000_000
LEAST_PROBABILITY = 1e-30
"""Replaces a probability of 0 where its logarithm is taken."""

RETURN_PROBABILITIES = frozenset({"LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier"})
SAVED = "save probabilities [N, C] with labels: calkd-edge calibrate --predictions FILE.npz"
"""The way for a file whose scores are not read from the file itself."""


@dataclass(frozen=True)
class ClassifierOutput:
    """The scores that a classifier returns, and its logits.

    Attributes:
        logits: the value that a softmax reads, or that is returned without one; for `probabilities`, which
            the file computes without a softmax, the scores themselves.
        scores: the value [N, C] that is returned.
        kind: how the scores follow from the logits. Without a softmax, they are assumed to be `logits`.
        softmaxes: how many follow the logits; more than one flattens confidence.
        classes: C.
        half: whether the logits are float16.
        trailing_axes: number of axes of length 1 after the axis of classes.
        rounds: whether the file rounds its probabilities to integers after the softmax.
    """

    logits: str
    scores: str
    kind: Kind
    softmaxes: int
    classes: int
    half: bool
    trailing_axes: int
    rounds: bool = False


def find_output(
    model: onnx.ModelProto,
    *,
    output: str | None = None,
    scores: Literal["logits", "probabilities"] | None = None,
) -> ClassifierOutput:
    """Find the logits and scores of a classifier.

    Args:
        model: with the shapes that its exporter wrote.
        output: name of the output that holds the scores, for files with several.
        scores: what that output holds, where it is not a softmax and the caller knows.

    Raises:
        RecipeError: there is no output of scores or several, the number of classes is unknown, or the scores
            are a sigmoid for each class.
    """
    if model.ByteSize() > LARGEST_BYTES:
        raise RecipeError(
            f"the file holds {model.ByteSize() / 1e9:.1f} GB; files above 2 GB are not supported",
            remedy="Export the part after its backbone alone, and calibrate that file.",
        )
    view = GraphView.of(model)
    chosen = _score_output(view, output)
    classes = _classes(model, chosen)
    if classes == 1:
        raise RecipeError(
            f"the output '{chosen.name}' holds one score for each image: a binary classifier with one "
            "probability p or one logit",
            remedy=f"Export [1 - p, p] as its output, or {SAVED}",
        )
    first = chosen.name
    node = view.producer.get(first)
    if node is not None and node.op_type == "ZipMap":
        first = node.input[0]
    end = behind(view, first, AFTERWARDS)
    kind: Kind = "logits"
    logits, softmaxes = first, 0
    source = softmax_source(view, end)
    node = view.producer.get(end)
    refuse_end_without_confidence(view, node, chosen.name)
    refuse_sorted_scores(view, first, chosen.name)
    of_log = behind(view, node.input[0], MOVES) if node is not None and node.op_type == "Log" else None
    if source is not None:
        kind, logits, softmaxes = "softmax", source, 1
        inner = softmax_source(view, behind(view, source, MOVES))
        while inner is not None:
            softmaxes += 1
            inner = softmax_source(view, behind(view, inner, MOVES))
    elif node is not None and node.op_type == "LogSoftmax":
        kind, logits, softmaxes = "log_softmax", node.input[0], 1
    elif of_log is not None and (inside := softmax_source(view, of_log)) is not None:
        kind, logits, softmaxes = "log_softmax", inside, 1
    elif scores is None and _makes_probabilities(view, end):
        kind = "probabilities"
    elif scores is not None:
        kind = scores
    else:
        refuse_unknown_end(view, first, chosen.name)
    trailing_axes = _trailing_axes(model, logits)
    if node is not None and node.op_type in ("Softmax", "LogSoftmax"):
        _check_axis(model, node, trailing_axes)
    half = _is_half(model, logits, chosen)
    rounds = kind == "softmax" and _rounds(view, first, end)
    return ClassifierOutput(logits, first, kind, softmaxes, classes, half, trailing_axes, rounds)


def _rounds(view: GraphView, value: str, end: str) -> bool:
    """Whether integers stand between the softmax `end` and the value that is returned."""
    while value != end:
        node = view.producer[value]
        if node.op_type == "QuantizeLinear":
            return True
        value = node.input[0]
    return False


def _check_axis(model: onnx.ModelProto, node: onnx.NodeProto, trailing_axes: int) -> None:
    """Refuse a softmax over another axis than that of the classes, axis 1.

    Before opset 13 the default axis is 1, from there on the last.
    """
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    axis = int(number_of(node, "axis", -1 if opset >= 13 else 1))
    if axis % (2 + trailing_axes) != 1:
        raise RecipeError(
            f"the file's softmax runs over axis {axis} of its scores, not over classes (axis 1)",
            remedy="Export it with classes on axis 1, or name another output: --scores-output NAME.",
        )


def _makes_probabilities(view: GraphView, value: str) -> bool:
    """Whether an operator of classical models returns this value as probabilities."""
    node = view.producer.get(value)
    if node is None:
        return False
    if node.op_type == "Normalizer":
        return attribute(node, "norm", b"MAX") == b"L1"
    if node.op_type == "TreeEnsembleClassifier":
        return attribute(node, "post_transform", b"NONE") in (b"NONE", b"SOFTMAX")
    return node.op_type in RETURN_PROBABILITIES and attribute(node, "post_transform", b"NONE") == b"SOFTMAX"


def _is_half(model: onnx.ModelProto, value: str, output: onnx.ValueInfoProto) -> bool:
    graph = typed_graph(model)
    known = {info.name: info for info in (*graph.value_info, *graph.output)}
    element_type = known.get(value, output).type.tensor_type.elem_type
    if element_type == TensorProto.DOUBLE:
        raise RecipeError(
            f"the scores '{value}' are computed in float64",
            remedy="Export the classifier with scores in float32.",
        )
    return bool(element_type == TensorProto.FLOAT16)


def _score_output(view: GraphView, name: str | None) -> onnx.ValueInfoProto:
    outputs: Sequence[onnx.ValueInfoProto] = list(view.graph.output)
    listed = ", ".join(f"{output.name} {_shape(output)}" for output in outputs)
    if name is not None:
        chosen = next((output for output in outputs if output.name == name), None)
        if chosen is None:
            raise RecipeError(f"the model has no output '{name}'", remedy=f"Its outputs: {listed}.")
        if not _holds_scores(view, chosen):
            raise RecipeError(
                f"the output '{name}' is not an array of numbers [N, C]", remedy=f"Its outputs: {listed}."
            )
        return chosen
    scores = [output for output in outputs if _holds_scores(view, output)]
    if len(scores) == 2 and {output.name for output in scores} == {"logits", "probabilities"}:
        return next(output for output in scores if output.name == "probabilities")
    if len(scores) != 1:
        raise RecipeError(
            f"the model has {len(scores)} outputs of scores among {listed}; a classifier has one, [N, C]",
            remedy="Name the output of scores: "
            + " or ".join(f"--scores-output {output.name}" for output in scores)
            if scores
            else "Export the classifier with an output of scores, float32 [N, C].",
        )
    return scores[0]


def _holds_scores(view: GraphView, output: onnx.ValueInfoProto) -> bool:
    node = view.producer.get(output.name)
    if node is not None and node.op_type == "ZipMap":
        return True
    shape = output.type.tensor_type.shape.dim
    # [N, C], also with trailing axes of length 1, as convolutional heads return.
    flat = len(shape) >= 2 and all(dim.dim_value == 1 for dim in shape[2:])
    return output.type.tensor_type.elem_type in FLOATS and flat


def _trailing_axes(model: onnx.ModelProto, value: str) -> int:
    graph = typed_graph(model)
    known = {info.name: info for info in (*graph.value_info, *graph.output)}
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
        inferred = typed_graph(model)
        info = next((info for info in inferred.output if info.name == output.name), None)
        dims = info.type.tensor_type.shape.dim if info is not None else []
        count = dims[1].dim_value if len(dims) > 1 else 0
    if not count:
        raise RecipeError(
            "the model does not declare its number of classes",
            remedy="Export it with a fixed number of classes.",
        )
    return int(count)
