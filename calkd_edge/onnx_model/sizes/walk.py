"""The walk along a graph: its nodes, what is inside them, and the functions that they call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import AttributeProto, NodeProto, TypeProto

from calkd_edge.agent.predict import MOST_IMAGES
from calkd_edge.onnx_model.sizes.node import numbers, through_node
from calkd_edge.onnx_model.sizes.scope import (
    LARGEST_AT_ONCE,
    LARGEST_VALUE,
    Scope,
    SizeProblem,
    is_whole,
    opsets_of,
    sizes_of,
    type_of,
)


def check_sizes(model: onnx.ModelProto) -> None:
    """Refuse values that are too large for one image, or whose size nothing tells.

    The first size of the inputs is taken as 1 where it is open. Where others are open too, what depends on
    them is not judged, and neither is what comes of operators that are not ONNX's.

    Raises:
        SizeProblem: with the name of the first such value.
    """
    fixed = max((size for _, size in _inputs(model)), default=0)
    _walk(model, fixed or 1, LARGEST_AT_ONCE if fixed > 1 else LARGEST_VALUE)


def images_at_once(model: onnx.ModelProto) -> int:
    """How many images the model may be asked for at once so that no value is too large: 100, 10 or 1."""
    for images in (MOST_IMAGES, 10):
        try:
            _walk(model, images, LARGEST_AT_ONCE)
        except SizeProblem:
            continue
        return images
    return 1


def _inputs(model: onnx.ModelProto) -> list[tuple[onnx.ValueInfoProto, int]]:
    """What a caller gives, each with its number of images; 0 where that is open."""
    stored = {tensor.name for tensor in model.graph.initializer}
    found = []
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored:
            found.append((value, max(0, dims[0].dim_value) if dims else 0))
    return found


def _walk(model: onnx.ModelProto, images: int, largest: int) -> None:
    inputs = [value for value, _ in _inputs(model)]
    is_told = all(
        value.type.tensor_type.HasField("shape")
        and all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim[1:])
        for value in inputs
    )
    functions = {(one.domain, one.name, one.overload): one for one in model.functions}
    scope = Scope(opsets_of(model.opset_import), functions, images, largest, is_told)
    for value in inputs:
        kind = TypeProto()
        kind.CopyFrom(value.type)
        dims = kind.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = images
        scope.tell(value.name, kind)
    try:
        _through_graph(model.graph, scope)
    except SizeProblem:
        raise
    except (LookupError, StopIteration, TypeError, ValueError, ArithmeticError) as broken:
        raise SizeProblem(f"its nodes lack what their operators need ({broken!r})") from broken


def _through_graph(graph: onnx.GraphProto, scope: Scope) -> None:
    for tensor in graph.initializer:
        scope.tell(tensor.name, type_of(tensor.data_type, list(tensor.dims)), numbers(tensor))
    for sparse in graph.sparse_initializer:
        scope.tell(sparse.values.name, type_of(sparse.values.data_type, list(sparse.dims)))
    _through(graph.node, scope)


def _through(nodes: Iterable[NodeProto], scope: Scope) -> None:
    for node in nodes:
        scope.step()
        function = scope.functions.get((node.domain, node.op_type, node.overload))
        if function is not None:
            _through_function(node, function, scope)
        elif node.op_type in ("If", "Loop", "Scan") and node.domain in ("", "ai.onnx"):
            {"If": _through_if, "Loop": _through_loop, "Scan": _through_scan}[node.op_type](node, scope)
        else:
            for item in node.attribute:
                if item.type == AttributeProto.GRAPH:
                    _through_graph(item.g, scope.inner())
            through_node(node, scope)


def _through_function(node: NodeProto, function: onnx.FunctionProto, scope: Scope) -> None:
    inside = scope.of_function(function)
    for formal, name in zip(function.input, node.input, strict=False):
        inside.tell(formal, scope.types.get(name), scope.known.get(name))
    given = {item.name: item for item in (*function.attribute_proto, *node.attribute)}
    _through((_bound(one, given) for one in function.node), inside)
    for formal, name in zip(function.output, node.output, strict=False):
        scope.tell(name, inside.types.get(formal), inside.known.get(formal))


def _bound(node: NodeProto, given: Mapping[str, AttributeProto]) -> NodeProto:
    """A function's node with the attributes of the call, also in its branches."""
    bound = NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for item in node.attribute:
        if item.ref_attr_name and item.ref_attr_name not in given:
            continue
        made = bound.attribute.add()
        made.CopyFrom(given[item.ref_attr_name] if item.ref_attr_name else item)
        made.name = item.name
        if made.type == AttributeProto.GRAPH:
            inner = [_bound(one, given) for one in made.g.node]
            del made.g.node[:]
            made.g.node.extend(inner)
    return bound


def _through_if(node: NodeProto, scope: Scope) -> None:
    """Both branches; what they make is what they agree on, or what the chosen one makes."""
    branches = [
        (item.name, item.g, scope.inner()) for item in node.attribute if item.name.endswith("_branch")
    ]
    for _, graph, inside in branches:
        _through_graph(graph, inside)
    chosen = scope.known.get(node.input[0])
    if chosen is not None and chosen.size == 1:
        wanted = "then_branch" if chosen.reshape(-1)[0] else "else_branch"
        branches = [one for one in branches if one[0] == wanted]
    for at, name in enumerate(node.output):
        made = [(inside, graph.output[at].name) for _, graph, inside in branches if at < len(graph.output)]
        kinds = [inside.types.get(inner) for inside, inner in made]
        known = made[0][0].known.get(made[0][1]) if len(made) == 1 else None
        scope.tell(name, _common(kinds), known)


def _common(kinds: list[TypeProto | None]) -> TypeProto | None:
    """The type that all have: sizes that differ are open."""
    sizes = [sizes_of(kind) for kind in kinds]
    first = kinds[0] if kinds else None
    if first is None or any(one is None or len(one) != len(sizes[0] or []) for one in sizes):
        return None
    told = [one for one in sizes if one is not None]
    same = [dims[0] if len(set(dims)) == 1 else None for dims in zip(*told, strict=True)]
    return type_of(first.tensor_type.elem_type, same)


def _through_loop(node: NodeProto, scope: Scope) -> None:
    """One turn, which must leave the sizes of what it carries as they are; what it collects, once a turn."""
    body = next(item.g for item in node.attribute if item.name == "body")
    inside, carried = scope.inner(), node.input[2:]
    for at, value in enumerate(body.input):
        outer = scope.types.get(carried[at - 2]) if 2 <= at < len(carried) + 2 else None
        inside.tell(value.name, outer if at >= 2 else value.type)
    _through_graph(body, inside)
    made = [inside.types.get(value.name) for value in body.output[1:]]
    _tell_carried(node, scope, [scope.types.get(name) for name in carried], made)
    turns = scope.known.get(node.input[0]) if node.input and node.input[0] else None
    for name, kind in zip(node.output[len(carried) :], made[len(carried) :], strict=False):
        sizes = sizes_of(kind)
        if turns is None or turns.size != 1 or kind is None or sizes is None:
            scope.untold(node, "how often it turns, or what it collects, is known only when it runs")
        else:
            scope.tell(name, type_of(kind.tensor_type.elem_type, [int(turns.reshape(-1)[0]), *sizes]))


def _tell_carried(
    node: NodeProto, scope: Scope, before: list[TypeProto | None], after: list[TypeProto | None]
) -> None:
    for name, first, last in zip(node.output, before, after, strict=False):
        if sizes_of(first) != sizes_of(last) or not is_whole(last):
            scope.untold(node, "what it carries from turn to turn may grow")
        else:
            scope.tell(name, last)


def _through_scan(node: NodeProto, scope: Scope) -> None:
    """One turn over the first places of what it scans; what it collects, once a place."""
    given = {item.name: item for item in node.attribute}
    body, scanned = given["body"].g, given["num_scan_inputs"].i
    states = len(node.input) - scanned
    axes = list(given["scan_input_axes"].ints) if "scan_input_axes" in given else [0] * scanned
    inside, turns = scope.inner(), None
    for at, (value, name) in enumerate(zip(body.input, node.input, strict=False)):
        kind, sizes = scope.types.get(name), sizes_of(scope.types.get(name))
        if at >= states and kind is not None and sizes:
            turns = sizes.pop(axes[at - states])
            kind = type_of(kind.tensor_type.elem_type, sizes)
        inside.tell(value.name, kind)
    _through_graph(body, inside)
    made = [inside.types.get(value.name) for value in body.output]
    _tell_carried(node, scope, [scope.types.get(name) for name in node.input[:states]], made)
    axes = list(given["scan_output_axes"].ints) if "scan_output_axes" in given else [0] * len(made)
    for name, kind, axis in zip(node.output[states:], made[states:], axes, strict=False):
        sizes = sizes_of(kind)
        if turns is None or kind is None or sizes is None:
            scope.untold(node, "what it collects is known only when it runs")
            continue
        sizes.insert(axis if axis >= 0 else len(sizes) + 1 + axis, turns)
        scope.tell(name, type_of(kind.tensor_type.elem_type, sizes))
