"""Rules of the graph itself: operators, opset, types, sizes and numbers that TensorRT takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.lint.operators import (
    NEWEST_OPSET,
    OLDEST_OPSET,
    REDUCTIONS,
    RESIZE_MODES,
    SUPPORTED,
)
from calkd_edge.onnx_model.lint.view import Looked, Seen, named, option, type_name

ALONE = "Export again without it, or compute it outside the file."
WITHIN = f"Export with opset {NEWEST_OPSET}."
TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
        TensorProto.UNDEFINED,
    }
)


def opset(looked: Looked) -> Iterator[Seen]:
    """The opset is one that every TensorRT from 10.0 on reads."""
    version = looked.opset
    if version > NEWEST_OPSET:
        message = f"opset {version}: TensorRT 10.0 to 10.3 (JetPack 6) read up to {NEWEST_OPSET}"
        yield Seen("error", "", message, WITHIN)
    elif version < OLDEST_OPSET:
        yield Seen("error", "", f"opset {version}: TensorRT reads from {OLDEST_OPSET} on", WITHIN)


def operators(looked: Looked) -> Iterator[Seen]:
    """Every operator is one that TensorRT's parser knows; a model's own functions are looked into by it."""
    own = {(function.domain, function.name) for function in looked.model.functions}
    for node in looked.nodes:
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in ("", "ai.onnx"):
            message = f"{node.domain}.{node.op_type} is of a domain that TensorRT does not know"
            yield Seen("error", named(node), message, "Export with ONNX's own operators.")
        elif node.op_type not in SUPPORTED:
            yield Seen("error", named(node), f"TensorRT has no {node.op_type}", ALONE)


def restrictions(looked: Looked) -> Iterator[Seen]:
    """What TensorRT leaves out of operators that it has."""
    for node in looked.nodes:
        for message, remedy in _restricted(looked, node):
            yield Seen("error", named(node), message, remedy)


def _restricted(looked: Looked, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    kind = node.op_type
    if kind in ("MaxPool", "AveragePool", "LpPool"):
        spread = _integers(node, "dilations")
        if any(step != 1 for step in spread):
            yield f"{kind} with dilations {list(spread)}; TensorRT pools without", ALONE
        places = _integers(node, "kernel_shape")
        if len(places) not in (2, 3):
            yield f"{kind} over {len(places)} axes; TensorRT pools over 2 or 3", ALONE
        if kind == "MaxPool" and len([name for name in node.output if name]) > 1:
            yield "MaxPool returns the places of its maxima; TensorRT does not", ALONE
    elif kind == "LayerNormalization" and len([name for name in node.output if name]) > 1:
        yield "LayerNormalization returns more than its result; TensorRT does not", ALONE
    elif kind == "BatchNormalization" and option(node, "training_mode", 0):
        yield "BatchNormalization in training mode", "Export the model in evaluation mode."
    elif kind == "Dropout" and len(node.input) > 2 and node.input[2]:
        training = looked.numbers(node.input[2])
        if training is None or bool(training.any()):
            yield "Dropout in training mode", "Export the model in evaluation mode."
    elif (
        kind in REDUCTIONS and len(node.input) > 1 and node.input[1] and node.input[1] not in looked.constants
    ):
        yield f"{kind} along axes that are computed; TensorRT wants them stored", "Export with fixed axes."
    elif kind == "Resize":
        mode = next((item.s.decode() for item in node.attribute if item.name == "mode"), "nearest")
        if mode not in RESIZE_MODES:
            yield f"Resize by {mode}; TensorRT knows {' and '.join(RESIZE_MODES)}", "Resize before the model."
        if option(node, "antialias", 0):
            yield "Resize with antialiasing, which TensorRT has not", "Resize before the model."
    elif kind == "TopK" and not option(node, "sorted", 1):
        yield "TopK without sorting; TensorRT sorts", "Export with sorted=1."


def _integers(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])


def types(looked: Looked) -> Iterator[Seen]:
    """float32, float16, int32, int64, bool; uint8 as input or output alone; no double precision."""
    outer = {value.name for value in (*looked.model.graph.input, *looked.model.graph.output)}
    for node in looked.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue  # have rules of their own
        for name in (*node.input, *node.output):
            kind = looked.kind(name)
            if kind in TYPES or (kind == TensorProto.UINT8 and name in outer):
                continue
            said = f"'{name}' is {type_name(kind)}"
            if kind == TensorProto.DOUBLE:
                message = f"{said}; TensorRT computes it in float32, cut off at its largest number"
                yield Seen("warning", named(node), message, "Export in float32.")
            else:
                where = " inside the graph" if kind == TensorProto.UINT8 else ""
                yield Seen("error", named(node), f"{said}{where}, which TensorRT does not take", "Cast it.")
            break


def sizes(looked: Looked) -> Iterator[Seen]:
    """Only the batch is open; it is open."""
    stored = looked.view.initializers
    for value in looked.model.graph.input:
        if value.name in stored:
            continue
        dims = value.type.tensor_type.shape.dim
        open_axes = [place for place, dim in enumerate(dims) if dim.dim_value <= 0]
        if any(place > 0 for place in open_axes) or not dims:
            message = f"input '{value.name}' leaves more open than the batch: a profile could not be chosen"
            yield Seen("error", "", message, "Export with fixed sizes but for axis 0.")
        elif not open_axes:
            message = f"input '{value.name}' takes {dims[0].dim_value} at a time, no more and no less"
            yield Seen("note", "", message, "Export with an open batch, if others are wanted.")


def numbers(looked: Looked) -> Iterator[Seen]:
    """No stored NaN anywhere, and no infinity in what is multiplied."""
    for tensor in looked.view.initializers.values():
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            continue
        values = looked.numbers(tensor.name)
        bad = 0 if values is None else int(np.isnan(values).sum())
        readers = looked.view.consumers[tensor.name]
        weight = any(reader.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") for reader in readers)
        bad += int(np.isinf(values).sum()) if values is not None and weight else 0
        if bad:
            message = f"'{tensor.name}' holds {bad} numbers that are NaN or infinite"
            where = named(readers[0]) if readers else ""
            yield Seen("error", where, message, "Train again; the model has diverged.")


def branches(looked: Looked) -> Iterator[Seen]:
    """Branches and loops are taken, but keep TensorRT from much."""
    for node in looked.nodes:
        if node.op_type in ("If", "Loop", "Scan"):
            message = f"{node.op_type} splits the engine; none of the rules here looks inside it"
            yield Seen("warning", named(node), message, "Export with fixed sizes, so that it is not needed.")


def junk(looked: Looked) -> Iterator[Seen]:
    """Nodes that compute nothing."""
    for node in looked.nodes:
        if node.op_type == "Identity" and not looked.view.is_output(node.output[0]):
            yield Seen("note", named(node), "Identity computes nothing", "Nothing; builders drop it.")
        elif node.op_type == "Dropout" and not node.input[1:]:
            yield Seen("note", named(node), "Dropout does nothing here", "Export in evaluation mode.")
