"""Which values of an int8 graph become integers, and the grid of each.

A value becomes one where a layer in integers makes it: what a convolution returns (behind its Relu or Clip),
a sum or a concatenation of such values, and what only moves them. Values that are only moved or joined share
one grid, so that moving rounds nothing. What no later layer reads stays in float: logits are not rounded. A
layer that the quantizer left in float reads the floats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper

from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.cpu.canonical import MONOTONE, activation_scales
from calkd_edge.quantization.ranges import value_ends
from calkd_edge.quantization.scales import LARGEST, SMALLEST_SCALE

MOVES = frozenset(
    {
        "Concat",
        "Flatten",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Each number that these return is one that they read."""

LAYERS = ("Conv", "Gemm", "MatMul")
LEVELS = 255


class Grid(NamedTuple):
    """The numbers that uint8 can stand for: scale * (integer - zero_point)."""

    scale: float
    zero_point: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid from low <= 0 to high >= 0, on which 0 lies."""
        scale = max((high - low) / LEVELS, SMALLEST_SCALE)
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, LEVELS)))


def in_integers(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """A copy of a canonical int8 model whose values are integers wherever a layer in integers makes them.

    Args:
        model: see `calkd_edge.quantization.cpu.canonical.is_canonical`.
        images: uint8 [N, 3, H, W], to measure the values.
    """
    changed = copy_of(model)
    view = GraphView.of(changed)
    scales = activation_scales(view)
    groups = _groups(view, _values(view, frozenset(scales)))
    grids = _grids(model, groups, scales, images)
    _place_pairs(view, grids)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _values(view: GraphView, quantized: frozenset[str]) -> list[str]:
    """The values that become integers, in the order of the graph."""
    needed = _read_by_layers(view)
    values = dict.fromkeys(quantized)
    chosen = []
    for node in view.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        is_chosen = _runs_in_integers(view, node) or (
            node.op_type in ("Add", *MOVES)
            and _read(view, node)
            and all(name in values for name in _read(view, node))
        )
        for name in node.output:
            after = _activation_after(view, name)
            is_wanted = name in needed and _is_read_in_integers(view, name)
            if is_chosen and is_wanted and after is None and not view.is_output(name):
                values[name] = None
            if node.op_type in MONOTONE and is_wanted and _is_behind_layer(view, node, values):
                values[name] = None
        chosen += [name for name in node.output if name in values]
    return chosen


def _read(view: GraphView, node: onnx.NodeProto) -> list[str]:
    """The computed values that a node reads, those before their Q/DQ."""
    return [_before_pair(view, name) for name in node.input if name and name not in view.initializers]


def _before_pair(view: GraphView, name: str) -> str:
    dequantize = view.producer.get(name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return name
    quantize = view.producer.get(dequantize.input[0])
    return name if quantize is None else quantize.input[0]


def _runs_in_integers(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a convolution reads its activation and its weight through Q/DQ."""
    makers = [view.producer.get(name) for name in node.input[:2]] if node.op_type == "Conv" else [None]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _is_read_in_integers(view: GraphView, name: str) -> bool:
    """Whether anything but a layer in float reads a value."""
    return any(not _stays_in_float(view, reader) for reader in view.consumers[name])


def _stays_in_float(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a layer's weight is not quantized."""
    maker = view.producer.get(node.input[1]) if node.op_type in LAYERS else None
    return node.op_type in LAYERS and (maker is None or maker.op_type != "DequantizeLinear")


def _activation_after(view: GraphView, name: str) -> onnx.NodeProto | None:
    """The Relu or Clip that alone reads a value."""
    reader = view.only_reader(name)
    follows = reader is not None and reader.op_type in MONOTONE and reader.input[0] == name
    return reader if follows else None


def _is_behind_layer(view: GraphView, node: onnx.NodeProto, values: dict[str, None]) -> bool:
    """Whether a Relu or Clip alone reads what becomes integers."""
    maker = view.producer.get(node.input[0])
    if maker is None or _activation_after(view, node.input[0]) is not node or view.is_output(node.output[0]):
        return False
    read = _read(view, maker)
    return _runs_in_integers(view, maker) or (
        maker.op_type == "Add" and bool(read) and all(name in values for name in read)
    )


def _read_by_layers(view: GraphView) -> set[str]:
    """All values that some layer in integers depends on."""
    needed: set[str] = set()
    for node in reversed(view.graph.node):
        if node.op_type == "QuantizeLinear" or needed.intersection(node.output):
            needed.update(node.input)
    return needed


def _groups(view: GraphView, values: list[str]) -> list[list[str]]:
    """The values in groups that share a grid: joined by nodes that only move numbers."""
    group = {name: [name] for name in values}
    for node in view.graph.node:
        if node.op_type in MOVES:
            names = [name for name in (*_read(view, node), *node.output) if name in group]
            for name in names[1:]:
                first, second = group[names[0]], group[name]
                if first is not second:
                    first += second
                    group.update(dict.fromkeys(second, first))
    return list({id(names): names for names in group.values()}.values())


def _grids(
    model: onnx.ModelProto, groups: list[list[str]], scales: dict[str, float], images: np.ndarray
) -> dict[str, Grid]:
    """By value, its grid: what was measured, and no further than the quantizer's range where it has one."""
    measured = value_ends(model, [name for group in groups for name in group], images)
    grids: dict[str, Grid] = {}
    for group in groups:
        chosen = [scales[name] * LARGEST for name in group if name in scales]
        limit = max(chosen) if len(chosen) == len(group) else np.inf
        ends = [measured[name] for name in group]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        grids.update(dict.fromkeys(group, Grid.over(max(low, -limit), min(high, limit))))
    return grids


def _place_pairs(view: GraphView, grids: dict[str, Grid]) -> None:
    """A Q/DQ pair behind each value that has a grid, which all its readers read."""
    read = {name: view.unique(f"{name}_read") for name in grids}
    replaced: set[int] = set()
    for node in view.graph.node:
        if node.op_type == "DequantizeLinear" and _before_pair(view, node.output[0]) in grids:
            read[node.output[0]] = read[_before_pair(view, node.output[0])]
            replaced |= {id(node), id(view.producer[node.input[0]])}
    nodes: list[onnx.NodeProto] = []
    for node in view.graph.node:
        if id(node) in replaced:
            continue
        if not _stays_in_float(view, node):
            for position, name in enumerate(node.input):
                node.input[position] = read.get(name, name)
        nodes.append(node)
        for name in node.output:
            if name in grids:
                nodes += _pair(view, name, grids[name], read[name])
    view.replace_nodes(nodes)


def _pair(view: GraphView, name: str, grid: Grid, output: str) -> list[onnx.NodeProto]:
    integers = view.unique(f"{name}_integers")
    stored = [
        view.store(f"{name}_grid", np.array(grid.scale, dtype=np.float32)),
        view.store(f"{name}_zero", np.array(grid.zero_point, dtype=np.uint8)),
    ]
    return [
        helper.make_node("QuantizeLinear", [name, *stored], [integers], f"quantize_{name}"),
        helper.make_node("DequantizeLinear", [integers, *stored], [output], f"dequantize_{name}"),
    ]
