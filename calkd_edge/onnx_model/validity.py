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
