"""One node: the types of its outputs, and their numbers where those determine sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calkd_edge.onnx_model.sizes.scope import SMALL, Scope, elements_of, is_fully_known, sizes_of, type_of

_GROWING = {
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Pad", "OneHot", "Upsample", "CenterCropPad", "AffineGrid"), (1,)),
    **dict.fromkeys(("Col2Im", "DFT", "STFT"), (1,)),
    "Range": (0, 1, 2),
    "MelWeightMatrix": (0, 1, 2),
    "MaxUnpool": (2,),
    "Resize": (1, 2, 3),
}
"""Operators whose outputs can be much larger than their inputs, and the inputs that set the size."""

_COMPUTED = frozenset(
    name
    for line in (
        "Abs Add Ceil Clip Div Floor Max Min Mod Mul Neg Pow Round Sqrt Sub",
        "And Equal Greater GreaterOrEqual Less LessOrEqual Not Or Where",
        "Cast CastLike Concat Constant ConstantOfShape Expand Gather Identity NonZero",
        "Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape ScatterElements ScatterND",
        "Shape Size Slice Split Squeeze Tile Transpose Unsqueeze",
    )
    for name in line.split()
)
"""Operators that shapes are computed with."""

_NUMBERS = (
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)


def visit_node(node: NodeProto, scope: Scope) -> None:
    """Record the outputs of a node, and refuse those of unknown size."""
    if node.domain not in ("", "ai.onnx") or not scope.unchecked.isdisjoint(node.input):
        scope.unchecked.update(filter(None, node.output))
    types = _inferred(node, scope)
    if node.op_type in _GROWING and not all(is_fully_known(types.get(name)) for name in node.output if name):
        _check_growth(node, scope)
    is_computed = node.op_type in _COMPUTED and node.domain in ("", "ai.onnx")
    values = _computed(node, types, scope) if is_computed else {}
    for name in node.output:
        scope.record(name, types.get(name), values.get(name))


def _inferred(node: NodeProto, scope: Scope) -> dict[str, TypeProto]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    input_types = {name: scope.types.get(name, TypeProto()) for name in node.input if name}
    known = {name: scope.known.get(name) for name in input_types}
    try:
        stored = {
            name: numpy_helper.from_array(array, name) for name, array in known.items() if array is not None
        }
        schema = onnx.defs.get_schema(node.op_type, scope.opsets.get(domain, 1), domain)
        imports = [helper.make_opsetid(*item) for item in scope.opsets.items()]
        infer = onnx.shape_inference.infer_node_outputs
        return dict(infer(schema, node, input_types, stored, None, imports))
    except Exception:  # onnx raises its own kinds; the runtime will check the node
        return {}


def _check_growth(node: NodeProto, scope: Scope) -> None:
    """Refuse a growing operator where the input that sets its output size is unknown."""
    for at in _GROWING[node.op_type]:
        name = node.input[at] if at < len(node.input) else ""
        is_region = node.op_type == "Resize" and at == 1 and len(node.input) > 2
        if not name or is_region:
            continue
        values = scope.known.get(name)
        if values is None:
            scope.refuse_unknown(node, f"'{name}' is known only at run time")
        elif node.op_type in ("Expand", "Tile"):
            least = [int(size) for size in values.ravel()]  # as if the input had one element
            scope.record(node.output[0], type_of(TensorProto.FLOAT, least))


def _computed(node: NodeProto, types: Mapping[str, TypeProto], scope: Scope) -> dict[str, np.ndarray]:
    """The outputs of a node by name, computed from known numbers; empty if they are large or unknown."""
    if node.op_type in ("Shape", "Size"):
        return _sizes_as_numbers(node, scope)
    names, inputs = [name for name in node.output if name], {}
    is_small = all(is_fully_known(types.get(name)) and elements_of(types[name]) <= SMALL for name in names)
    for name in filter(None, node.input):
        values = scope.known.get(name)
        if values is None:
            return {}
        inputs[name] = values
    if not is_small and node.op_type != "NonZero":  # of which inference knows only an upper limit
        return {}
    graph_inputs, graph_outputs = (
        [helper.make_tensor_value_info(name, 0, None) for name in some] for some in (inputs, names)
    )
    imports = [helper.make_opsetid("", scope.opsets.get("", 1))]
    graph = helper.make_graph([node], "node", graph_inputs, graph_outputs)
    model = helper.make_model(graph, opset_imports=imports)
    try:
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(model).run(None, inputs)
    except Exception:  # the node is invalid; its numbers stay unknown
        return {}
    return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}


def _sizes_as_numbers(node: NodeProto, scope: Scope) -> dict[str, np.ndarray]:
    sizes = sizes_of(scope.types.get(node.input[0]))
    if sizes is None or None in sizes:
        return {}
    shape, ends = np.array(sizes, dtype=np.int64), {item.name: item.i for item in node.attribute}
    if node.op_type == "Size":
        return {node.output[0]: np.asarray(np.prod(shape))}
    return {node.output[0]: shape[ends.get("start", 0) : ends.get("end")]}


def numbers(tensor: TensorProto) -> np.ndarray | None:
    """The numbers of a stored tensor; None where they are many, or not numeric."""
    is_small = math.prod(tensor.dims) <= SMALL and tensor.data_type in _NUMBERS
    return numpy_helper.to_array(tensor) if is_small else None
