"""The opset of a file, the version of its operators, and a file of a newer one that computes the same."""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from calkd_edge.errors import StageFailed


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default domain; 0 where the file names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def at_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """The model, or a copy converted by onnx where its opset is older than `least`.

    Raises:
        StageFailed: onnx cannot convert it.
    """
    if opset_of(model) >= least:
        return model
    try:
        newer = version_converter.convert_version(model, least)
    except Exception as failed:  # of onnx's C++ part, which raises several types
        raise StageFailed(
            f"int8 needs opset {least}, the file is of opset {opset_of(model)}, and onnx cannot convert it: "
            f"{(str(failed).strip() or type(failed).__name__).splitlines()[0]}",
            remedy=f"Export the model for opset {least} or newer.",
        ) from failed
    newer.ir_version = max(newer.ir_version, helper.find_min_ir_version_for(list(newer.opset_import)))
    return newer
