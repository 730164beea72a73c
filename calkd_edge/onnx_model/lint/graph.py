"""Rules of the graph itself: operators, opset, types, sizes and numbers that TensorRT accepts."""

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
from calkd_edge.onnx_model.lint.view import InspectedModel, NodeFinding, node_name, option, type_name

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


def opset(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """The opset is one that every TensorRT from 10.0 on can read."""
    version = inspected.opset
    if version > NEWEST_OPSET:
        message = f"opset {version}: TensorRT 10.0 to 10.3 (JetPack 6) read opsets up to {NEWEST_OPSET}"
        yield NodeFinding("error", "", message, WITHIN)
    elif version < OLDEST_OPSET:
        yield NodeFinding(
            "error", "", f"opset {version}: TensorRT reads opsets from {OLDEST_OPSET} on", WITHIN
        )


def operators(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """TensorRT's parser supports every operator; it inlines the functions that the model defines."""
    functions = {(function.domain, function.name) for function in inspected.model.functions}
    for node in inspected.nodes:
        if (node.domain, node.op_type) in functions:
            continue
        if node.domain not in ("", "ai.onnx"):
            message = f"{node.domain}.{node.op_type} belongs to a domain that TensorRT does not know"
            yield NodeFinding("error", node_name(node), message, "Export with ONNX's own operators.")
        elif node.op_type not in SUPPORTED:
            yield NodeFinding("error", node_name(node), f"TensorRT has no {node.op_type}", ALONE)


def restrictions(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Forms of supported operators that TensorRT does not support."""
    for node in inspected.nodes:
        for message, remedy in _restricted(inspected, node):
            yield NodeFinding("error", node_name(node), message, remedy)


def _restricted(inspected: InspectedModel, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    kind = node.op_type
    if kind in ("MaxPool", "AveragePool", "LpPool"):
        spread = _integers(node, "dilations")
        if any(step != 1 for step in spread):
            yield f"{kind} has dilations {list(spread)}; TensorRT pools without dilations", ALONE
        kernel_shape = _integers(node, "kernel_shape")
        if len(kernel_shape) not in (2, 3):
            yield f"{kind} over {len(kernel_shape)} axes; TensorRT pools over 2 or 3", ALONE
        if kind == "MaxPool" and len([name for name in node.output if name]) > 1:
            yield "MaxPool returns the indices of its maxima; TensorRT does not", ALONE
    elif kind == "LayerNormalization" and len([name for name in node.output if name]) > 1:
        yield "LayerNormalization returns more than one output; TensorRT does not", ALONE
    elif kind == "BatchNormalization" and option(node, "training_mode", 0):
        yield "BatchNormalization is in training mode", "Export the model in evaluation mode."
    elif kind == "Dropout" and len(node.input) > 2 and node.input[2]:
        training = inspected.numbers(node.input[2])
        if training is None or bool(training.any()):
            yield "Dropout is in training mode", "Export the model in evaluation mode."
    elif (
        kind in REDUCTIONS
        and len(node.input) > 1
        and node.input[1]
        and node.input[1] not in inspected.constants
    ):
        yield f"{kind} runs along computed axes; TensorRT needs stored ones", "Export with fixed axes."
    elif kind == "Resize":
        mode = next((item.s.decode() for item in node.attribute if item.name == "mode"), "nearest")
        if mode not in RESIZE_MODES:
            yield (
                f"Resize uses the mode {mode}; TensorRT supports {' and '.join(RESIZE_MODES)}",
                "Resize before the model.",
            )
        if option(node, "antialias", 0):
            yield "Resize uses antialiasing, which TensorRT does not support", "Resize before the model."
    elif kind == "TopK" and not option(node, "sorted", 1):
        yield "TopK does not sort; TensorRT does", "Export with sorted=1."


def _integers(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])


def types(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Values are float32, float16, int32, int64 or bool; uint8 only at the ends; nothing is double."""
    outer = {value.name for value in (*inspected.model.graph.input, *inspected.model.graph.output)}
    for node in inspected.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue  # they have separate rules
        for name in (*node.input, *node.output):
            kind = inspected.kind(name)
            if kind in TYPES or (kind == TensorProto.UINT8 and name in outer):
                continue
            description = f"'{name}' is {type_name(kind)}"
            if kind == TensorProto.DOUBLE:
                message = (
                    f"{description}; TensorRT computes it in float32 and clips it at float32's largest number"
                )
                yield NodeFinding("warning", node_name(node), message, "Export in float32.")
            else:
                where = " inside the graph" if kind == TensorProto.UINT8 else ""
                yield NodeFinding(
                    "error",
                    node_name(node),
                    f"{description}{where}, which TensorRT does not accept",
                    "Cast it.",
                )
            break


def sizes(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """The batch size is open, and no other size is."""
    stored = inspected.view.initializers
    for value in inspected.model.graph.input:
        if value.name in stored:
            continue
        dims = value.type.tensor_type.shape.dim
        open_axes = [axis for axis, dim in enumerate(dims) if dim.dim_value <= 0]
        if any(axis > 0 for axis in open_axes) or not dims:
            message = f"input '{value.name}' leaves more than the batch size open: no profile can be chosen"
            yield NodeFinding("error", "", message, "Export with fixed sizes except for axis 0.")
        elif not open_axes:
            message = f"input '{value.name}' takes exactly {dims[0].dim_value} images per run"
            yield NodeFinding("note", "", message, "Export with an open batch size to allow other numbers.")


def numbers(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """No stored number is NaN, and no weight is infinite."""
    for tensor in inspected.view.initializers.values():
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            continue
        values = inspected.numbers(tensor.name)
        bad = 0 if values is None else int(np.isnan(values).sum())
        readers = inspected.view.consumers[tensor.name]
        weight = any(reader.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") for reader in readers)
        bad += int(np.isinf(values).sum()) if values is not None and weight else 0
        if bad:
            message = f"'{tensor.name}' holds {bad} numbers that are NaN or infinite"
            where = node_name(readers[0]) if readers else ""
            yield NodeFinding("error", where, message, "Train again; the model has diverged.")


def branches(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Branches and loops are accepted, but prevent optimizations of TensorRT."""
    for node in inspected.nodes:
        if node.op_type in ("If", "Loop", "Scan"):
            message = f"{node.op_type} splits the engine; the rules do not check the nodes inside it"
            yield NodeFinding(
                "warning", node_name(node), message, "Export with fixed sizes, which usually removes it."
            )


def junk(inspected: InspectedModel) -> Iterator[NodeFinding]:
    """Nodes that compute nothing."""
    for node in inspected.nodes:
        if node.op_type == "Identity" and not inspected.view.is_output(node.output[0]):
            yield NodeFinding(
                "note", node_name(node), "Identity computes nothing", "No action is needed: builders drop it."
            )
        elif node.op_type == "Dropout" and not node.input[1:]:
            yield NodeFinding(
                "note", node_name(node), "Dropout does nothing here", "Export the model in evaluation mode."
            )
