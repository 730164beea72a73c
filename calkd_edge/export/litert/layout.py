"""Layout of the values of an ONNX graph in memory: LiteRT needs channels last, ONNX has them after the batch.

A value keeps its ONNX shape and the order of its axes in memory. A Transpose then only renames axes, and a
Reshape that splits or joins neighbours stays a Reshape: memory is moved where axes must be neighbours and are
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from calkd_edge.export.litert.file import LiteFile


@dataclass(frozen=True)
class Value:
    """A tensor of the file and how to read it.

    Attributes:
        tensor: its number.
        shape: in ONNX's order.
        order: for each axis in memory, which axis of `shape` it is.
        kind: numpy's name of its type.
        scale: of a quantized tensor, whose zero point is 0.
    """

    tensor: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    kind: str = "float32"
    scale: float | None = None

    @property
    def lies(self) -> tuple[int, ...]:
        """The shape in memory."""
        return tuple(self.shape[axis] for axis in self.order)

    def at(self, axis: int) -> int:
        """The position in memory of an ONNX axis, which may count from the end."""
        return self.order.index(axis % len(self.shape))


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of axes that LiteRT's layers need, for a value of that rank."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def as_it_is(rank: int) -> tuple[int, ...]:
    """ONNX's order of axes."""
    return tuple(range(rank))


def laid(file: LiteFile, value: Value, order: Sequence[int]) -> Value:
    """The same value with its axes in that order."""
    target_order = tuple(order)
    if target_order == value.order:
        return value
    moved = Value(0, value.shape, target_order, value.kind, value.scale)
    name = f"{file.tensors[value.tensor].name}_laid"
    number = file.tensor(name, moved.lies, value.kind, scale=value.scale)
    if _significant(value) == _significant(moved):  # only axes of length 1 move
        _reshape(file, value.tensor, number, moved.lies)
    else:
        permutation = np.array([value.order.index(axis) for axis in target_order], dtype=np.int32)
        axes = file.constant(f"{name}_axes", permutation)
        file.operator("TRANSPOSE", [value.tensor, axes], [number], "TransposeOptions")
    return Value(number, value.shape, target_order, value.kind, value.scale)


def transposed(value: Value, permutation: Sequence[int]) -> Value:
    """The transposed value: other names for the same memory."""
    shape = tuple(value.shape[axis] for axis in permutation)
    order = tuple(list(permutation).index(axis) for axis in value.order)
    return Value(value.tensor, shape, order, value.kind, value.scale)


def reshaped(file: LiteFile, value: Value, shape: Sequence[int], name: str) -> Value:
    """The reshaped value: axes are split and joined in memory order."""
    groups = _groups(value.shape, tuple(shape))
    position = {axis: at for at, axis in enumerate(value.order)}

    def first(group: tuple[list[int], list[int]]) -> int:
        axes = [axis for axis in group[0] if value.shape[axis] != 1] or group[0]
        return min((position[axis] for axis in axes), default=len(position))

    groups.sort(key=first)
    target_order = tuple(axis for inside, _ in groups for axis in inside)
    if _significant(value) != [axis for axis in target_order if value.shape[axis] != 1]:
        value = laid(file, value, target_order)
    order = tuple(axis for _, outside in groups for axis in outside)
    result = Value(0, tuple(shape), order, value.kind, value.scale)
    number = file.tensor(name, result.lies, value.kind, scale=value.scale)
    _reshape(file, value.tensor, number, result.lies)
    return Value(number, result.shape, order, value.kind, value.scale)


def _reshape(file: LiteFile, source: int, target: int, lies: Sequence[int]) -> None:
    shape = file.constant(f"{file.tensors[target].name}_shape", np.array(lies, dtype=np.int32))
    file.operator("RESHAPE", [source, shape], [target], "ReshapeOptions", newShape=list(lies))


def _significant(value: Value) -> list[int]:
    return [axis for axis in value.order if value.shape[axis] != 1]


def _groups(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of neighbouring axes that have equally many elements before and after."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        inside, outside = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        i, j = i + len(inside), j + len(outside)
        while (a := prod(before[k] for k in inside)) != (b := prod(after[k] for k in outside)):
            if a < b:
                inside.append(i)
                i += 1
            else:
                outside.append(j)
                j += 1
        groups.append((inside, outside))
    return groups
