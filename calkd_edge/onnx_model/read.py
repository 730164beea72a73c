"""Reading an ONNX file from any source: complete, with the declared sizes, and from its own folder alone.

In scope: checks before a file's numbers are used. Out of scope: what the graph means.

A file is untrusted data. It may claim tensors larger than itself, name files elsewhere for its numbers, or
describe values that no memory holds; each of these is refused before anything of that size is allocated, the
last as far as the graph determines it (calkd_edge.onnx_model.sizes).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.files.paths import check_path
from calkd_edge.files.recognised import recognised
from calkd_edge.onnx_model.sizes import SizeProblem, check_sizes
from calkd_edge.onnx_model.standard_form import sort_nodes

EXPORT_AGAIN = "Export the model again."
LARGEST_FILE = 2**31 - 1
"""Bytes: the limit of protobuf."""

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
}  # of the types that this version of onnx knows
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file; returns the model with its external data loaded.

    Negative sizes of inputs and outputs, by which some exporters mark an open size, are removed.

    Raises:
        RecipeError: the file does not exist, is not an ONNX model, claims more data than it holds, or has
            values that are too large or of unknown size.
    """
    model = _decoded(path)
    outside = 0
    for tensor in _tensors(model):
        size = _claimed_bytes(tensor, path)
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, size, path)
            outside += size
        else:
            _check_inside(tensor, size, path)
    if outside > LARGEST_FILE:
        raise _refused(path, f"its external data have {outside:,} bytes", "Export a model below 2 GiB.")
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            _load_external(tensor, _claimed_bytes(tensor, path), path.parent)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("value")
    sort_nodes(model)
    try:
        check_sizes(model)
    except SizeProblem as wrong:
        raise _refused(path, str(wrong), wrong.remedy) from wrong
    return model


def external_files(path: Path) -> dict[str, Path]:
    """The files with external data of a model, by the names that it gives them, sorted.

    What `read_onnx` refuses is left to it: files that are missing or must not be read, and what is no ONNX.
    """
    try:
        model = _decoded(path)
    except RecipeError:
        return {}
    outside = (tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL)
    names = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    files = {name: _external_file(name, path) for name in sorted(names)}
    return {name: file for name, file in files.items() if file is not None and file.is_file()}


def content_sha256(path: Path) -> str:
    """SHA-256 of a model with its external data; without any, that of its file."""
    digests = {name: sha256_of(file) for name, file in external_files(path).items()}
    if not digests:
        return sha256_of(path)
    lines = [sha256_of(path), *(f"{digest}  {name}" for name, digest in digests.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _decoded(path: Path) -> onnx.ModelProto:
    check_path(path, "the model")
    if path.is_dir():
        raise RecipeError(f"{path} is a folder", remedy="Name an ONNX file.")
    if not path.is_file():
        raise RecipeError(f"there is no file {path}", remedy="Check the path.")
    if path.stat().st_size > LARGEST_FILE:
        raise _refused(path, f"it has {path.stat().st_size:,} bytes", "Export a model below 2 GiB.")
    other = recognised(path)
    if other is not None:
        raise _refused(path, f"it is {other.what}", other.remedy)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as broken:  # protobuf's DecodeError, and errors of the text parser
        raise _refused(path, str(broken), EXPORT_AGAIN) from broken
    if model.ir_version > onnx.IR_VERSION:
        raise RecipeError(
            f"{path} has ir_version {model.ir_version}, and onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}",
            remedy="Export it for an older version (onnx.load it with the newer onnx, set its ir_version to "
            f"{onnx.IR_VERSION}, onnx.save it), or: pip install -U onnx onnxruntime",
        )
    _check_texts(model, path)
    if not model.graph.node:  # protobuf reads an empty file as an empty model
        raise _refused(path, "it holds no graph", EXPORT_AGAIN)
    return model


def _check_texts(message: onnx.ModelProto, path: Path) -> None:
    """Refuse names that are no text: protobuf does not check them, and no result could show them."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_MESSAGE, field.TYPE_STRING):
            continue
        values = [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value
        for item in values:
            if field.type == field.TYPE_MESSAGE:
                _check_texts(item, path)
            elif not isinstance(item, str):  # bytes where they are no UTF-8
                raise _refused(path, f"a {field.name} in it is not UTF-8", EXPORT_AGAIN)


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
        raise _refused(path, f"'{tensor.name}' has sizes {list(tensor.dims)}", EXPORT_AGAIN)
    if tensor.data_type == TensorProto.STRING:
        return 0
    if tensor.data_type not in _BITS:
        raise _refused(path, f"'{tensor.name}' has the unknown type {tensor.data_type}", EXPORT_AGAIN)
    return -(-int(math.prod(tensor.dims)) * _BITS[tensor.data_type] // 8)


def _check_inside(tensor: onnx.TensorProto, size: int, path: Path) -> None:
    held = len(tensor.raw_data)
    if not tensor.HasField("raw_data"):
        if tensor.data_type == TensorProto.STRING:
            return
        # In typed fields each number has an entry, a complex one two; small ones may share a byte.
        count = sum(len(getattr(tensor, field)) for field in _TYPED_FIELDS)
        count //= 2 if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 1
        bits = _BITS[tensor.data_type]
        fits = count == math.prod(tensor.dims) or (bits < 8 and count == size)
        held = size if fits else count * max(bits, 8) // 8
    if held != size:
        raise _refused(
            path,
            f"'{tensor.name}' claims {size:,} bytes ({list(tensor.dims)}) and holds {held:,}",
            "Download or export the file again: it is truncated or damaged.",
        )


def _check_external(tensor: onnx.TensorProto, size: int, path: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if not entries.get("location"):
        raise _refused(path, f"'{tensor.name}' names no file for its numbers", EXPORT_AGAIN)
    file = _external_file(entries["location"], path)
    if file is None:
        raise _refused(
            path,
            f"'{tensor.name}' reads its numbers from {entries['location'][:100]!r}, outside "
            "the model's folder",
            "Do not run it; use a model from a source that you trust. If a link leads out of the folder, and "
            "you made it, replace it by the file itself.",
        )
    check_path(file, f"{path}: the numbers of '{tensor.name}'")
    if not file.is_file():
        raise _refused(path, f"its file {file.name} is missing", "Put that file beside the model.")
    other = recognised(file)
    if other is not None:
        raise RecipeError(f"{file}, the data of {path.name}, is {other.what}", remedy=other.remedy)
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError:
        raise _refused(path, f"'{tensor.name}' has external data at {entries}", EXPORT_AGAIN) from None
    if length != size or offset < 0 or offset + size > file.stat().st_size:
        raise _refused(
            path,
            f"'{tensor.name}' claims {size:,} bytes ({list(tensor.dims)}) of {file.name} from "
            f"{offset:,} on, which has {file.stat().st_size:,}",
            "Download or export the files again: they do not belong together, or one is truncated.",
        )


def _external_file(location: str, path: Path) -> Path | None:
    """The file with a tensor's numbers; None where it is not of this model's folder.

    A location must stay inside the folder as it is written. A link in the folder may lead to the folder of
    the real model file and no further: a cache of downloads keeps both as links into one folder.
    """
    try:
        if not location or Path(location).is_absolute() or ".." in Path(location).parts:
            return None
        file = path.parent / location
        real = file.resolve()
        allowed = (path.parent.resolve(), path.resolve().parent)
    except (ValueError, OSError, RuntimeError):  # a null byte, a name that is too long, a loop of links
        return None
    return file if any(real.is_relative_to(folder) for folder in allowed) else None


def _load_external(tensor: onnx.TensorProto, size: int, folder: Path) -> None:
    """Read a tensor's checked numbers into the model."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    with (folder / entries["location"]).open("rb") as stream:
        stream.seek(int(entries.get("offset") or 0))
        tensor.raw_data = stream.read(size)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
