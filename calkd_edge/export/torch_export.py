"""Export of a trained model to ONNX: uint8 images in, logits and probabilities out, dynamic batch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from calkd_edge.errors import StageFailed
from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.onnx_model.names import INPUT, LOGITS, PROBABILITIES
from calkd_edge.records import FloatArray

log = logging.getLogger(__name__)

MAX_IMAGES_PER_RUN = 4096


class WithProbabilities(nn.Module):
    """A model that returns the softmax of its logits too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images [N, 3, H, W] -> logits [N, C], probabilities [N, C]."""
        logits = self.model(images)
        return logits, torch.softmax(logits, dim=1)


def export_onnx(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    target: Path,
    *,
    opset: int,
    metadata: Mapping[str, str],
) -> None:
    """Write `model` to `target` as ONNX, checked by onnx.checker.

    Args:
        model: uint8 images [N, 3, H, W] -> logits [N, C]; put in evaluation mode.
        image_shape: (3, H, W), fixed in the file; the batch size stays open.
        target: the .onnx file.
        opset: 18 to 20.
        metadata: entries of the file's metadata_props.

    Raises:
        StageFailed: the exporter does not support the model.
    """
    wrapped = WithProbabilities(model).eval()
    # A batch of two, since the exporter treats a batch of one as a constant.
    example = torch.zeros(2, *image_shape, dtype=torch.uint8)
    printed = StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(printed), _clamps(wrapped):
            warnings.simplefilter("ignore")  # the exporter's deprecations do not concern the user
            program = torch.onnx.export(
                wrapped,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MAX_IMAGES_PER_RUN)},),
                input_names=[INPUT],
                output_names=[LOGITS, PROBABILITIES],
                opset_version=opset,
                verbose=False,
            )
    except Exception as refused:  # torch.export raises many kinds, all of them meaning this
        log.exception("the exporter printed: %s", printed.getvalue())
        raise StageFailed(
            f"torch cannot export this model: {type(refused).__name__}: {str(refused).splitlines()[0]}",
            remedy="See the log for the layer. Remove data-dependent control flow: it cannot be exported.",
        ) from refused
    if program is None:
        raise StageFailed("torch exported nothing", remedy="Upgrade torch and onnxscript.")
    proto = program.model_proto
    _strip_traces(proto)
    set_metadata(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, target)


@contextmanager
def _clamps(model: nn.Module) -> Iterator[None]:
    """Within it, each ReLU6 is a clamp, which is one operator of ONNX.

    torch takes hardtanh apart operator by operator, which is a large part of an export of MobileNetV2.
    """
    modules = [
        module for module in model.modules() if type(module) is nn.ReLU6 and "forward" not in vars(module)
    ]
    for module in modules:
        clamp = torch.clamp_ if module.inplace else torch.clamp
        module.forward = partial(clamp, min=0.0, max=6.0)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in modules:
            del module.forward  # the class's own is behind it


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Remove the source locations that the exporter records: they hold paths of this machine."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    proto.graph.name = "calkd_edge"


def reference_logits(model: nn.Module, images: np.ndarray, *, images_per_step: int = 250) -> FloatArray:
    """torch's logits, float32 [N, C], for uint8 images [N, 3, H, W], with which the file is compared."""
    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), images_per_step):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + images_per_step]))
            parts.append(model(batch).float().numpy())
    return np.concatenate(parts)
