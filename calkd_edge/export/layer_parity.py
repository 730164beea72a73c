"""An exported file compared with torch, layer by layer, to find the first layer that differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from calkd_edge.export.comparison import FLOAT32_TOLERANCE, largest_difference
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.onnx_model.names import LOGITS


@dataclass(frozen=True)
class LayerParity:
    """The difference between torch and the file at one layer, on the same images.

    Attributes:
        layer: path of the module; "logits" for the network's output.
        difference: the largest between torch and the file; infinite where the shapes differ.
        largest: magnitude of torch's values.
    """

    layer: str
    difference: float
    largest: float

    @property
    def relative(self) -> float:
        """The difference per unit of the largest value above 1."""
        return self.difference / max(1.0, self.largest)

    @property
    def departs(self) -> bool:
        """Whether the difference is more than rounding, or NaN."""
        return not self.relative <= FLOAT32_TOLERANCE


def summary(rows: Sequence[LayerParity]) -> str:
    """The first layer that differs, or the largest difference of all layers."""
    first = next((row for row in rows if row.departs), None)
    if first is None:
        worst = max(rows, key=lambda row: row.relative)
        return (
            f"all {len(rows) - 1} layers and the logits agree with torch; the largest difference "
            f"is {worst.relative:.1e} of the layer's largest value ({worst.layer})"
        )
    return (
        f"the first layer that differs from torch is {first.layer}: {first.difference:.3g} where its largest "
        f"value is {first.largest:.3g}"
    )


def by_layer(
    model: nn.Module, watched: Sequence[tuple[str, nn.Module]], file: onnx.ModelProto, images: np.ndarray
) -> list[LayerParity]:
    """Compare each layer that torch and the file both have, in the file's order, and the logits last.

    Args:
        model: uint8 images [N, 3, H, W] -> logits [N, C]; put in evaluation mode.
        watched: the path of a convolution or linear layer, and the module whose output the file's node has:
            its batch normalisation where that is folded into it.
        file: the export of the model.
        images: uint8 [N, 3, H, W], a few.
    """
    outputs, logits = _torch_outputs(model.eval(), watched, images)
    nodes = _layer_nodes(file, [path for path, _ in watched])
    values = _file_outputs(file, [value for _, value in nodes], images)
    rows = []
    calls: dict[str, int] = defaultdict(int)
    for path, value in nodes:
        call, calls[path] = calls[path], calls[path] + 1
        if call < len(outputs[path]):
            rows.append(_compared(path, values[value], outputs[path][call]))
    return [*rows, _compared(LOGITS, values[LOGITS], logits)]


def _layer_nodes(file: onnx.ModelProto, paths: Sequence[str]) -> list[tuple[str, str]]:
    """(path, output) of each node with the weights of a path; the exporter names weights by their path."""
    known = set(paths)
    nodes = []
    for node in file.graph.node:
        weight = node.input[1] if len(node.input) > 1 else ""
        path = weight.removesuffix(".weight").partition(".")[2]
        if node.op_type in ("Conv", "Gemm") and path in known:
            nodes.append((path, node.output[0]))
    return nodes


def _torch_outputs(
    model: nn.Module, watched: Sequence[tuple[str, nn.Module]], images: np.ndarray
) -> tuple[dict[str, list[np.ndarray]], np.ndarray]:
    """By path, the output of each call of its module; and the logits."""
    outputs: dict[str, list[np.ndarray]] = defaultdict(list)

    def keep(path: str, output: Tensor) -> None:
        # A copy: an activation function may work in place.
        outputs[path].append(output.detach().clone().float().numpy())

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, path=path: keep(path, output))
        for path, module in watched
    ]
    try:
        with torch.no_grad():
            logits = model(torch.from_numpy(np.ascontiguousarray(images)))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, logits.float().numpy()


def _file_outputs(file: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The named values of the file and its logits, by name."""
    extended = copy_of(file)
    present = {output.name for output in file.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        extended.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    requested = list(dict.fromkeys([*names, LOGITS]))
    values = session.run(requested, {session.get_inputs()[0].name: np.ascontiguousarray(images)})
    return dict(zip(requested, values, strict=True))


def _compared(layer: str, values: np.ndarray, reference: np.ndarray) -> LayerParity:
    return LayerParity(layer, largest_difference(values, reference), float(np.abs(reference).max()))
