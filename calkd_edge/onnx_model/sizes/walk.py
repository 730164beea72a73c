"""The walk along a graph: its nodes, the graphs inside them, and the functions that they call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import AttributeProto, NodeProto, TypeProto

from calkd_edge.agent.predict import MOST_IMAGES
from calkd_edge.onnx_model.sizes.node import numbers, visit_node
from calkd_edge.onnx_model.sizes.scope import (
    LARGEST_AT_ONCE,
    LARGEST_VALUE,
    Scope,
    SizeProblem,
    is_fully_known,
    opsets_of,
    sizes_of,
    type_of,
)


def check_sizes(model: onnx.ModelProto) -> None:
    """Refuse values that are too large for one image, or of unknown size.

    An open first size of an input counts as 1. Values that depend on other open sizes are not checked, and
    neither are outputs of operators of other domains.

    Raises:
        SizeProblem: with the name of the first such value.
    """
    fixed = max((size for _, size in _inputs(model)), default=0)
    _walk(model, fixed or 1, LARGEST_AT_ONCE if fixed > 1 else LARGEST_VALUE)


def images_at_once(model: onnx.ModelProto) -> int:
    """The largest batch size, of 100, 10 and 1, for which no value is too large."""
    for images in (MOST_IMAGES, 10):
        try:
            _walk(model, images, LARGEST_AT_ONCE)
        except SizeProblem:
            continue
        return images
    return 1


def _inputs(model: onnx.ModelProto) -> list[tuple[onnx.ValueInfoProto, int]]:
    """The inputs that are not stored, each with its number of images; 0 where that is open."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored:
            inputs.append((value, max(0, dims[0].dim_value) if dims else 0))
    return inputs


def _walk(model: onnx.ModelProto, images: int, largest: int) -> None:
    inputs = [value for value, _ in _inputs(model)]
    has_known_sizes = all(
        value.type.tensor_type.HasField("shape")
        and all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim[1:])
        for value in inputs
    )
    functions = {
        (function.domain, function.name, function.overload): function for function in model.functions
    }
    scope = Scope(opsets_of(model.opset_import), functions, images, largest, has_known_sizes)
    for value in inputs:
        kind = TypeProto()
        kind.CopyFrom(value.type)
        dims = kind.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = images
        scope.record(value.name, kind)
    try:
        _visit_graph(model.graph, scope)
    except SizeProblem:
        raise
    except (LookupError, StopIteration, TypeError, ValueError, ArithmeticError) as broken:
        raise SizeProblem(
            f"its nodes lack what their operators need ({broken!r})", "Export the model again."
        ) from broken


def _visit_graph(graph: onnx.GraphProto, scope: Scope) -> None:
    for tensor in graph.initializer:
        scope.record(tensor.name, type_of(tensor.data_type, list(tensor.dims)), numbers(tensor))
    for sparse in graph.sparse_initializer:
        scope.record(sparse.values.name, type_of(sparse.values.data_type, list(sparse.dims)))
    _visit_nodes(graph.node, scope)


def _visit_nodes(nodes: Iterable[NodeProto], scope: Scope) -> None:
    for node in nodes:
        scope.step()
        function = scope.functions.get((node.domain, node.op_type, node.overload))
        if function is not None:
            _visit_call(node, function, scope)
        elif node.op_type in ("If", "Loop", "Scan") and node.domain in ("", "ai.onnx"):
            {"If": _visit_if, "Loop": _visit_loop, "Scan": _visit_scan}[node.op_type](node, scope)
        else:
            for item in node.attribute:
                if item.type == AttributeProto.GRAPH:
                    _visit_graph(item.g, scope.inner())
            visit_node(node, scope)


def _visit_call(node: NodeProto, function: onnx.FunctionProto, scope: Scope) -> None:
    inside = scope.of_function(function)
    for formal, name in zip(function.input, node.input, strict=False):
        inside.record(formal, scope.types.get(name), scope.known.get(name))
    attributes = {item.name: item for item in (*function.attribute_proto, *node.attribute)}
    _visit_nodes((_bound(inner, attributes) for inner in function.node), inside)
    for formal, name in zip(function.output, node.output, strict=False):
        scope.record(name, inside.types.get(formal), inside.known.get(formal))


def _bound(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> NodeProto:
    """A function's node with the attributes of the call, also in its branches."""
    bound = NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for item in node.attribute:
        if item.ref_attr_name and item.ref_attr_name not in attributes:
            continue
        copied = bound.attribute.add()
        copied.CopyFrom(attributes[item.ref_attr_name] if item.ref_attr_name else item)
        copied.name = item.name
        if copied.type == AttributeProto.GRAPH:
            inner = [_bound(item, attributes) for item in copied.g.node]
            del copied.g.node[:]
            copied.g.node.extend(inner)
    return bound


def _visit_if(node: NodeProto, scope: Scope) -> None:
    """Visit both branches; the outputs have the sizes that both agree on, or those of the chosen branch."""
    branches = [
        (item.name, item.g, scope.inner()) for item in node.attribute if item.name.endswith("_branch")
    ]
    for _, graph, inside in branches:
        _visit_graph(graph, inside)
    chosen = scope.known.get(node.input[0])
    if chosen is not None and chosen.size == 1:
        chosen_name = "then_branch" if chosen.reshape(-1)[0] else "else_branch"
        branches = [branch for branch in branches if branch[0] == chosen_name]
    for at, name in enumerate(node.output):
        results = [(inside, graph.output[at].name) for _, graph, inside in branches if at < len(graph.output)]
        kinds = [inside.types.get(inner) for inside, inner in results]
        known = results[0][0].known.get(results[0][1]) if len(results) == 1 else None
        scope.record(name, _common(kinds), known)


def _common(kinds: list[TypeProto | None]) -> TypeProto | None:
    """The common type of all: sizes that differ are open."""
    sizes = [sizes_of(kind) for kind in kinds]
    first = kinds[0] if kinds else None
    if first is None or any(shape is None or len(shape) != len(sizes[0] or []) for shape in sizes):
        return None
    known = [shape for shape in sizes if shape is not None]
    same = [dims[0] if len(set(dims)) == 1 else None for dims in zip(*known, strict=True)]
    return type_of(first.tensor_type.elem_type, same)


def _visit_loop(node: NodeProto, scope: Scope) -> None:
    """Visit one iteration, which must keep the sizes of carried values; scan outputs collect them."""
    body = next(item.g for item in node.attribute if item.name == "body")
    inside, carried = scope.inner(), node.input[2:]
    for at, value in enumerate(body.input):
        outer = scope.types.get(carried[at - 2]) if 2 <= at < len(carried) + 2 else None
        inside.record(value.name, outer if at >= 2 else value.type)
    _visit_graph(body, inside)
    results = [inside.types.get(value.name) for value in body.output[1:]]
    _record_carried(node, scope, [scope.types.get(name) for name in carried], results)
    iterations = scope.known.get(node.input[0]) if node.input and node.input[0] else None
    for name, kind in zip(node.output[len(carried) :], results[len(carried) :], strict=False):
        sizes = sizes_of(kind)
        if iterations is None or iterations.size != 1 or kind is None or sizes is None:
            scope.refuse_unknown(
                node, "its number of iterations or its scan outputs are known only at run time"
            )
        else:
            scope.record(name, type_of(kind.tensor_type.elem_type, [int(iterations.reshape(-1)[0]), *sizes]))


def _record_carried(
    node: NodeProto, scope: Scope, before: list[TypeProto | None], after: list[TypeProto | None]
) -> None:
    for name, first, last in zip(node.output, before, after, strict=False):
        if sizes_of(first) != sizes_of(last) or not is_fully_known(last):
            scope.refuse_unknown(node, "a carried value may grow from one iteration to the next")
        else:
            scope.record(name, last)


def _visit_scan(node: NodeProto, scope: Scope) -> None:
    """Visit one iteration over the first slices of the scanned inputs; scan outputs grow by their number."""
    attributes = {item.name: item for item in node.attribute}
    body, scanned = attributes["body"].g, attributes["num_scan_inputs"].i
    states = len(node.input) - scanned
    axes = list(attributes["scan_input_axes"].ints) if "scan_input_axes" in attributes else [0] * scanned
    inside, iterations = scope.inner(), None
    for at, (value, name) in enumerate(zip(body.input, node.input, strict=False)):
        kind, sizes = scope.types.get(name), sizes_of(scope.types.get(name))
        if at >= states and kind is not None and sizes:
            iterations = sizes.pop(axes[at - states])
            kind = type_of(kind.tensor_type.elem_type, sizes)
        inside.record(value.name, kind)
    _visit_graph(body, inside)
    results = [inside.types.get(value.name) for value in body.output]
    _record_carried(node, scope, [scope.types.get(name) for name in node.input[:states]], results)
    axes = (
        list(attributes["scan_output_axes"].ints) if "scan_output_axes" in attributes else [0] * len(results)
    )
    for name, kind, axis in zip(node.output[states:], results[states:], axes, strict=False):
        sizes = sizes_of(kind)
        if iterations is None or kind is None or sizes is None:
            scope.refuse_unknown(node, "its scan outputs are known only at run time")
            continue
        sizes.insert(axis if axis >= 0 else len(sizes) + 1 + axis, iterations)
        scope.record(name, type_of(kind.tensor_type.elem_type, sizes))
