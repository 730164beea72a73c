"""The types of the values in one scope of a graph, and their numbers where they are few."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, helper

LARGEST_VALUE = 2**28
"""Elements of one value for one image. A classifier's largest are some 2**20, its weights some 2**27."""

LARGEST_AT_ONCE = 2**31
"""Elements of one value for the largest batch of predictions: 8 GiB in float32."""

_MOST_STEPS, _DEEPEST = 50_000, 64
SMALL = 1024
"""Elements of values that are computed here: shapes, and what leads to them."""


class SizeProblem(ValueError):
    """A value is too large or of unknown size; the message names it.

    Args:
        problem: in words.
        remedy: what the file's author can do.
    """

    def __init__(
        self,
        problem: str,
        remedy: str = "Export it for smaller images or batches, with sizes that follow from the image size "
        "alone.",
    ) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass
class Scope:
    """The known types and numbers of a graph; an inner graph sees those of the graphs around it.

    Attributes:
        opsets: versions by domain.
        functions: those that the model defines, by domain, name and overload.
        images: the batch size.
        largest: elements of one value, at most.
        has_known_sizes: whether the file declares its image size; else values that depend on it are not
            checked.
        steps: number of nodes inside other nodes so far, one count for all scopes.
        types: by name of the value.
        known: numbers by name of the value, of SMALL elements at most; None where they are unknown.
        depth: number of scopes around it.
        unchecked: names of values that depend on operators of other domains, in all scopes.
    """

    opsets: dict[str, int]
    functions: Mapping[tuple[str, str, str], onnx.FunctionProto]
    images: int
    largest: int
    has_known_sizes: bool
    steps: list[int] = field(default_factory=lambda: [0])
    types: MutableMapping[str, TypeProto] = field(default_factory=dict)
    known: MutableMapping[str, np.ndarray | None] = field(default_factory=dict)
    depth: int = 0
    unchecked: set[str] = field(default_factory=set)

    def inner(self) -> Scope:
        """The scope of a branch or body, which sees this one."""
        types, known = ChainMap({}, self.types), ChainMap({}, self.known)
        return self._deeper(self.opsets, types, known)

    def of_function(self, function: onnx.FunctionProto) -> Scope:
        """The scope of a function's nodes, which sees no other scope."""
        return self._deeper(opsets_of(function.opset_import), {}, {})

    def _deeper(
        self,
        opsets: dict[str, int],
        types: MutableMapping[str, TypeProto],
        known: MutableMapping[str, np.ndarray | None],
    ) -> Scope:
        if self.depth >= _DEEPEST:
            raise SizeProblem(
                f"its functions and branches are nested more than {_DEEPEST} levels deep, as where a "
                "function calls itself",
                "Export the model again, without functions that call themselves.",
            )
        shared = (self.functions, self.images, self.largest, self.has_known_sizes, self.steps)
        return Scope(opsets, *shared, types, known, self.depth + 1, self.unchecked)

    def record(self, name: str, kind: TypeProto | None, values: np.ndarray | None = None) -> None:
        """Record a value, hiding that name of an outer scope; raises SizeProblem if it is too large."""
        if not name:
            return
        self.types[name] = kind or TypeProto()
        self.known[name] = values if values is not None and values.size <= SMALL else None
        sizes = [size for size in sizes_of(kind) or [] if size is not None]
        elements = math.prod(sizes)
        if elements > self.largest:
            at_once = "" if self.images == 1 else f" for {self.images} images at once"
            raise SizeProblem(
                f"'{name}' would have {elements:,} elements ({sizes}){at_once}; the limit is {self.largest:,}"
            )

    def step(self) -> None:
        """Count a node inside another; raises SizeProblem if nested functions expand to too many."""
        self.steps[0] += self.depth > 0
        if self.steps[0] > _MOST_STEPS:
            raise SizeProblem(f"its functions and branches expand to more than {_MOST_STEPS:,} nodes")

    def refuse_unknown(self, node: NodeProto, why: str) -> None:
        """Refuse a value of unknown size, where the input sizes are known and the operators are ONNX's."""
        if self.has_known_sizes and self.unchecked.isdisjoint(node.input):
            name = node.name or (node.output[0] if node.output else node.op_type)
            raise SizeProblem(f"the size of {node.op_type} '{name}' is unknown: {why}")


def opsets_of(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Versions by domain; the default domain is ""."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in imports}


def sizes_of(kind: TypeProto | None) -> list[int | None] | None:
    """Sizes of a tensor, None where open; None if the number of axes is unknown."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims]


def is_fully_known(kind: TypeProto | None) -> bool:
    """Whether every size of a tensor is known."""
    sizes = sizes_of(kind)
    return sizes is not None and None not in sizes


def type_of(elements: int, sizes: Sequence[int | None] | None) -> TypeProto:
    """The type of a tensor with that element type; None for sizes that are open."""
    return helper.make_tensor_type_proto(elements, sizes)


def elements_of(kind: TypeProto | None) -> int:
    """The number of elements of a tensor whose sizes are all known."""
    return math.prod(size or 0 for size in sizes_of(kind) or [])
