"""An exported file against torch, layer by layer: where the two first say different things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from calkd_edge.onnx_model.graph import copy_of

TOLERANCE = 1e-4
"""Largest difference between torch and the runtime in float32, per unit of the layer's largest value."""


@dataclass(frozen=True)
class LayerParity:
    """One layer on the same images.

    Attributes:
        layer: path of the module; "logits" for the network's own answer.
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
        """Whether it is more than rounding; so is a NaN."""
        return not self.relative <= TOLERANCE


def by_layer(
    model: nn.Module, watched: Sequence[tuple[str, nn.Module]], file: onnx.ModelProto, images: np.ndarray
) -> list[LayerParity]:
    """Each layer that torch and the file both have, in the file's order, and the logits last.

    Args:
        model: uint8 images [N, 3, H, W] -> logits [N, C]; put in evaluation mode.
        watched: the path of a convolution or linear layer, and the module whose output the file's node has:
            its batch normalisation where that is folded into it.
        file: what was exported of the model.
        images: uint8 [N, 3, H, W], a few.
    """
    said, logits = _by_torch(model.eval(), watched, images)
    nodes = _nodes_of(file, [path for path, _ in watched])
    pairs = [(path, value) for value, path in nodes]
    values = _by_file(file, [value for _, value in pairs], images)
    rows = []
    for place, (path, value) in enumerate(pairs):
        earlier = sum(1 for other, _ in pairs[:place] if other == path)
        if earlier < len(said[path]):
            rows.append(_compared(path, said[path][earlier], values[value]))
    return [*rows, _compared("logits", logits, values["logits"])]


def _nodes_of(file: onnx.ModelProto, paths: Sequence[str]) -> list[tuple[str, str]]:
    """(value, path) of each node that has the weights of a path; the exporter names those by their place."""
    known = set(paths)
    found = []
    for node in file.graph.node:
        weight = node.input[1] if len(node.input) > 1 else ""
        path = weight.removesuffix(".weight").partition(".")[2]
        if node.op_type in ("Conv", "Gemm") and path in known:
            found.append((node.output[0], path))
    return found


def _by_torch(
    model: nn.Module, watched: Sequence[tuple[str, nn.Module]], images: np.ndarray
) -> tuple[dict[str, list[np.ndarray]], np.ndarray]:
    said: dict[str, list[np.ndarray]] = defaultdict(list)

    def keep(path: str, output: Tensor) -> None:
        # A copy: an activation function may work in place.
        said[path].append(output.detach().clone().float().numpy())

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
    return said, logits.float().numpy()


def _by_file(file: onnx.ModelProto, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    shown = copy_of(file)
    present = {output.name for output in file.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = list(dict.fromkeys([*names, "logits"]))
    found = session.run(wanted, {session.get_inputs()[0].name: np.ascontiguousarray(images)})
    return dict(zip(wanted, found, strict=True))


def _compared(layer: str, own: np.ndarray, other: np.ndarray) -> LayerParity:
    largest = float(np.abs(own).max())
    if own.shape != other.shape:
        return LayerParity(layer, float("inf"), largest)
    return LayerParity(layer, float(np.abs(own - other).max()), largest)
