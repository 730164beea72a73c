"""Whether a file is valid ONNX, asked where reading it fails: many run although the checker refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.onnx_model.read import read_onnx


def invalid_reason(model: onnx.ModelProto) -> str | None:
    """What onnx's checker refuses in a model; None for a valid one."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as invalid:  # onnx raises its own kinds, all of them meaning this
        return (str(invalid).strip() or type(invalid).__name__).splitlines()[0]
    return None


OLDEST_OPSET = 7
"""Of what ONNX Runtime promises to run."""

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft")
"""Of the operators in ONNX Runtime's packages."""


def unsupported_reason(model: onnx.ModelProto) -> str | None:
    """Why ONNX Runtime runs no file of this opset, or with these operators; None if it is neither."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset, newest = opsets.get("", opsets.get("ai.onnx")), onnx.defs.onnx_opset_version()
    if opset is None:
        return "it names no opset, the version of its operators"
    if not OLDEST_OPSET <= opset <= newest:
        return f"it is of opset {opset}, and {OLDEST_OPSET} to {newest} are supported"
    own = {function.domain for function in model.functions}
    strange = [node for node in every_node(model) if node.domain not in own.union(DOMAINS)]
    if strange:
        return f"its operator {strange[0].op_type} is of the domain '{strange[0].domain}', which is not known"
    return None


def has_loop(model: onnx.ModelProto) -> bool:
    """Whether some node repeats others as often as the file itself decides."""
    return any(node.op_type == "Loop" for node in every_node(model))


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a model, of its functions, and of the graphs inside them."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for item in node.attribute:
            waiting += [inner for graph in (item.g, *item.graphs) for inner in graph.node]


@contextmanager
def refused_if_invalid(path: Path) -> Iterator[None]:
    """What fails within it is the fault of a file that is not valid ONNX, and ours for a valid one.

    Raises:
        RecipeError: something failed, and the file is not valid.
    """
    try:
        yield
    except CalkdError:
        raise
    except Exception as failed:  # an operator without its inputs, an attribute of another type, and so on
        reason = invalid_reason(read_onnx(path))
        if reason is None:
            raise
        raise RecipeError(f"{path} is not valid ONNX: {reason}", remedy="Export the model again.") from failed
