"""One node: the types of what it makes, and the numbers where those lead to sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calkd_edge.onnx_model.sizes.scope import SMALL, Scope, elements_of, is_whole, sizes_of, type_of

_GROWING = {
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Pad", "OneHot", "Upsample", "CenterCropPad", "AffineGrid"), (1,)),
    **dict.fromkeys(("Col2Im", "DFT", "STFT"), (1,)),
    "Range": (0, 1, 2),
    "MelWeightMatrix": (0, 1, 2),
    "MaxUnpool": (2,),
    "Resize": (1, 2, 3),
}
"""Operators that make much of little, and which of their inputs say how much."""

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
"""What shapes are computed with."""

_NUMBERS = (
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)


def through_node(node: NodeProto, scope: Scope) -> None:
    """Note what a node makes, and refuse what nothing tells the size of."""
    if node.domain not in ("", "ai.onnx") or not scope.unjudged.isdisjoint(node.input):
        scope.unjudged.update(filter(None, node.output))
    types = _inferred(node, scope)
    if node.op_type in _GROWING and not all(is_whole(types.get(name)) for name in node.output if name):
        _check_growth(node, scope)
    is_computed = node.op_type in _COMPUTED and node.domain in ("", "ai.onnx")
    made = _computed(node, types, scope) if is_computed else {}
    for name in node.output:
        scope.tell(name, types.get(name), made.get(name))


def _inferred(node: NodeProto, scope: Scope) -> dict[str, TypeProto]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    given = {name: scope.types.get(name, TypeProto()) for name in node.input if name}
    known = {name: scope.known.get(name) for name in given}
    try:
        stored = {name: numpy_helper.from_array(one, name) for name, one in known.items() if one is not None}
        schema = onnx.defs.get_schema(node.op_type, scope.opsets.get(domain, 1), domain)
        imports = [helper.make_opsetid(*one) for one in scope.opsets.items()]
        found = onnx.shape_inference.infer_node_outputs(schema, node, given, stored, None, imports)
    except Exception:  # onnx raises its own kinds; the runtime will judge the node
        return {}
    return dict(found)


def _check_growth(node: NodeProto, scope: Scope) -> None:
    """Refuse an operator that makes much of little where what says how much is not known."""
    for at in _GROWING[node.op_type]:
        name = node.input[at] if at < len(node.input) else ""
        is_region = node.op_type == "Resize" and at == 1 and len(node.input) > 2
        if not name or is_region:
            continue
        values = scope.known.get(name)
        if values is None:
            scope.untold(node, f"'{name}' is known only when it runs")
        elif node.op_type in ("Expand", "Tile"):
            least = [int(size) for size in values.ravel()]  # of what has one element
            scope.tell(node.output[0], type_of(TensorProto.FLOAT, least))


def _computed(node: NodeProto, types: Mapping[str, TypeProto], scope: Scope) -> dict[str, np.ndarray]:
    """By name, what a node makes of known numbers; nothing where it is not small or not known."""
    if node.op_type in ("Shape", "Size"):
        return _sizes_as_numbers(node, scope)
    names, inputs = [name for name in node.output if name], {}
    is_small = all(is_whole(types.get(name)) and elements_of(types[name]) <= SMALL for name in names)
    for name in filter(None, node.input):
        values = scope.known.get(name)
        if values is None:
            return {}
        inputs[name] = values
    if not is_small and node.op_type != "NonZero":  # of which inference knows only that it is no more
        return {}
    given, made = ([helper.make_tensor_value_info(n, 0, None) for n in some] for some in (inputs, names))
    imports = [helper.make_opsetid("", scope.opsets.get("", 1))]
    model = helper.make_model(helper.make_graph([node], "one", given, made), opset_imports=imports)
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, inputs)
    except Exception:  # whatever becomes of a node that is wrong; its numbers stay unknown
        return {}
    return {name: np.asarray(one) for name, one in zip(names, found, strict=True)}


def _sizes_as_numbers(node: NodeProto, scope: Scope) -> dict[str, np.ndarray]:
    sizes = sizes_of(scope.types.get(node.input[0]))
    if sizes is None or None in sizes:
        return {}
    whole, ends = np.array(sizes, dtype=np.int64), {item.name: item.i for item in node.attribute}
    if node.op_type == "Size":
        return {node.output[0]: np.asarray(np.prod(whole))}
    return {node.output[0]: whole[ends.get("start", 0) : ends.get("end")]}


def numbers(tensor: TensorProto) -> np.ndarray | None:
    """Those of a stored tensor; None where they are many, or no numbers."""
    is_small = math.prod(tensor.dims) <= SMALL and tensor.data_type in _NUMBERS
    return numpy_helper.to_array(tensor) if is_small else None
