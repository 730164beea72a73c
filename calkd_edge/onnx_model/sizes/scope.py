"""What is known at one place of a graph: types, and numbers where they are few."""

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
"""Elements of one value for as many images as predictions are made of at once: 8 GiB in float32."""

_MOST_STEPS, _DEEPEST = 50_000, 64
SMALL = 1024
"""Elements of what is computed here: shapes, and what leads to them."""


class SizeProblem(ValueError):
    """A value is too large, or nothing tells its size; says which."""


@dataclass
class Scope:
    """What is known at one place of a graph; an inner graph sees what is outside of it.

    Attributes:
        opsets: versions by domain.
        functions: the model's own, by domain, name and overload.
        images: how many the values are for.
        largest: elements of one value, at most.
        is_told: whether the file says the size of its images; else what depends on it is not judged.
        steps: nodes inside of others so far, one count for all scopes.
        types: by name of the value.
        known: numbers by name of the value, of SMALL elements at most; None where they are not known.
        depth: how many scopes are around it.
        unjudged: names of values that come of operators that are not ONNX's, in all scopes.
    """

    opsets: dict[str, int]
    functions: Mapping[tuple[str, str, str], onnx.FunctionProto]
    images: int
    largest: int
    is_told: bool
    steps: list[int] = field(default_factory=lambda: [0])
    types: MutableMapping[str, TypeProto] = field(default_factory=dict)
    known: MutableMapping[str, np.ndarray | None] = field(default_factory=dict)
    depth: int = 0
    unjudged: set[str] = field(default_factory=set)

    def inner(self) -> Scope:
        """That of a branch or body, which sees this one."""
        types, known = ChainMap({}, self.types), ChainMap({}, self.known)
        return self._deeper(self.opsets, types, known)

    def of_function(self, function: onnx.FunctionProto) -> Scope:
        """That of a function's nodes, which sees nothing else."""
        return self._deeper(opsets_of(function.opset_import), {}, {})

    def _deeper(
        self,
        opsets: dict[str, int],
        types: MutableMapping[str, TypeProto],
        known: MutableMapping[str, np.ndarray | None],
    ) -> Scope:
        if self.depth >= _DEEPEST:
            raise SizeProblem(f"its functions and branches lie more than {_DEEPEST} deep in one another")
        asked = (self.functions, self.images, self.largest, self.is_told, self.steps)
        return Scope(opsets, *asked, types, known, self.depth + 1, self.unjudged)

    def tell(self, name: str, kind: TypeProto | None, values: np.ndarray | None = None) -> None:
        """Note a value, hiding what an outer scope calls so; raises SizeProblem where it is too large."""
        if not name:
            return
        self.types[name] = kind or TypeProto()
        self.known[name] = values if values is not None and values.size <= SMALL else None
        sizes = [size for size in sizes_of(kind) or [] if size is not None]
        elements = math.prod(sizes)
        if elements > self.largest:
            at_once = "" if self.images == 1 else f" for {self.images} images at once"
            raise SizeProblem(
                f"'{name}' would have {elements:,} elements ({sizes}){at_once}; values end at "
                f"{self.largest:,}"
            )

    def step(self) -> None:
        """Count a node inside another; raises SizeProblem where functions that call others make too many."""
        self.steps[0] += self.depth > 0
        if self.steps[0] > _MOST_STEPS:
            raise SizeProblem(f"its functions and branches come to more than {_MOST_STEPS:,} nodes")

    def untold(self, node: NodeProto, why: str) -> None:
        """Refuse what cannot be told, in a file that says the sizes of its inputs, from ONNX's operators."""
        if self.is_told and self.unjudged.isdisjoint(node.input):
            name = node.name or (node.output[0] if node.output else node.op_type)
            raise SizeProblem(f"nothing tells how large {node.op_type} '{name}' becomes: {why}")


def opsets_of(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Versions by domain; ONNX's own is ""."""
    return {"" if one.domain == "ai.onnx" else one.domain: one.version for one in imports}


def sizes_of(kind: TypeProto | None) -> list[int | None] | None:
    """Sizes of a tensor, None where open; None where not even their number is known."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims]


def is_whole(kind: TypeProto | None) -> bool:
    """Whether every size of a tensor is known."""
    sizes = sizes_of(kind)
    return sizes is not None and None not in sizes


def type_of(elements: int, sizes: Sequence[int | None] | None) -> TypeProto:
    """The type of a tensor of a kind of elements; None for sizes that are open."""
    return helper.make_tensor_type_proto(elements, sizes)


def elements_of(kind: TypeProto | None) -> int:
    """How many a tensor has whose sizes are all known."""
    return math.prod(size or 0 for size in sizes_of(kind) or [])
