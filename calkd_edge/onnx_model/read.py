"""Reading an ONNX file of anybody's make: whole, true to its own sizes, and from its own folder alone.

In scope: what must hold before a file's numbers are touched. Out of scope: what the graph means.

A file is data from outside. It may claim tensors larger than itself, name files elsewhere for its numbers, or
describe values that no memory holds; each of these is refused before anything of that size is allocated, the
last as far as the graph tells it (calkd_edge.onnx_sizes).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.sizes import SizeProblem, check_sizes

LARGEST_FILE = 2**31 - 1
"""Bytes: what protobuf can hold."""

_WIDTHS = {
    **dict.fromkeys(("UINT2", "INT2"), 2),
    **dict.fromkeys(("UINT4", "INT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("FLOAT6E2M3", "FLOAT6E3M2"), 6),
    **dict.fromkeys(("UINT8", "INT8", "BOOL", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("UINT16", "INT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}
_BITS = {
    number: _WIDTHS[name] for name, number in TensorProto.DataType.items() if name in _WIDTHS
}  # of those that this onnx knows
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model in a file, with its external data inside it.

    Sizes below zero of its inputs and outputs, by which some exporters say that a size is open, are left out.

    Raises:
        RecipeError: there is no such file, it is no ONNX model, it claims what it does not hold, or its
            values are too large or of a size that nothing tells.
    """
    model = _decoded(path)
    folder, outside = path.parent.resolve(), 0
    for tensor in _tensors(model):
        size = _claimed_bytes(tensor, path)
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, size, folder, path)
            outside += size
        else:
            _check_inside(tensor, size, path)
    if outside > LARGEST_FILE:
        raise _refused(path, f"its external data come to {outside:,} bytes", "Models end at 2 GiB here.")
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            load_external_data_for_tensor(tensor, str(folder))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("value")
    try:
        check_sizes(model)
    except SizeProblem as wrong:
        remedy = "Export it for smaller images or fewer at once, its sizes following from the image's alone."
        raise _refused(path, str(wrong), remedy) from wrong
    return model


def _decoded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise RecipeError(f"there is no file {path}", remedy="Check the path.")
    if path.stat().st_size > LARGEST_FILE:
        raise _refused(path, f"it has {path.stat().st_size:,} bytes", "ONNX files end at 2 GiB.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as broken:  # protobuf's DecodeError, and what reads text in its place
        raise _refused(path, str(broken), "Export it anew.") from broken
    if not model.graph.node:  # what protobuf makes of an empty file
        raise _refused(path, "it holds no graph", "Export it anew.")
    return model


def _refused(path: Path, why: str, remedy: str) -> RecipeError:
    return RecipeError(f"{path} is not a readable ONNX file: {why}", remedy=remedy)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor, also of branches, attributes and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t
            yield from item.tensors
            if item.HasField("sparse_tensor"):
                yield from (item.sparse_tensor.values, item.sparse_tensor.indices)
            if item.HasField("g"):
                yield from _of_graph(item.g)
            for graph in item.graphs:
                yield from _of_graph(graph)


def _claimed_bytes(tensor: onnx.TensorProto, path: Path) -> int:
    if any(size < 0 for size in tensor.dims):
        raise _refused(path, f"'{tensor.name}' has sizes {list(tensor.dims)}", "Export it anew.")
    if tensor.data_type == TensorProto.STRING:
        return 0
    if tensor.data_type not in _BITS:
        raise _refused(path, f"'{tensor.name}' has the unknown type {tensor.data_type}", "Export it anew.")
    return -(-int(math.prod(tensor.dims)) * _BITS[tensor.data_type] // 8)


def _check_inside(tensor: onnx.TensorProto, size: int, path: Path) -> None:
    held = len(tensor.raw_data)
    if not tensor.HasField("raw_data"):
        if tensor.data_type == TensorProto.STRING:
            return
        # In typed fields each number has a place, a complex one two; small ones may share one of a byte.
        count = sum(len(getattr(tensor, field)) for field in _TYPED_FIELDS)
        count //= 2 if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 1
        bits = _BITS[tensor.data_type]
        fits = count == math.prod(tensor.dims) or (bits < 8 and count == size)
        held = size if fits else count * max(bits, 8) // 8
    if held != size:
        raise _refused(
            path,
            f"'{tensor.name}' claims {size:,} bytes ({list(tensor.dims)}) and holds {held:,}",
            "The file is cut short or damaged: fetch or export it anew.",
        )


def _check_external(tensor: onnx.TensorProto, size: int, folder: Path, path: Path) -> None:
    said = {entry.key: entry.value for entry in tensor.external_data}
    place = folder / said.get("location", "")
    if not said.get("location") or not place.resolve().is_relative_to(folder):
        raise _refused(
            path,
            f"'{tensor.name}' wants its numbers from {said.get('location', 'nowhere')!r}, outside its folder",
            "Do not run it; take the model from a source that you trust.",
        )
    if not place.is_file():
        raise _refused(path, f"its file {place.name} is missing", "Put it beside the model.")
    try:
        offset, length = int(said.get("offset") or 0), int(said.get("length") or size)
    except ValueError:
        raise _refused(path, f"'{tensor.name}' has external data at {said}", "Export it anew.") from None
    if length != size or offset < 0 or offset + size > place.stat().st_size:
        raise _refused(
            path,
            f"'{tensor.name}' claims {size:,} bytes ({list(tensor.dims)}) of {place.name} from "
            f"{offset:,} on, which has {place.stat().st_size:,}",
            "The files do not belong together, or one is cut short: fetch or export them anew.",
        )
