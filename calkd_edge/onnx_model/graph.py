"""Access to an ONNX graph: the producer and the consumers of a value, stored tensors, metadata.

In scope: reading, and small changes that every room with an ONNX file needs. Out of scope: the meaning of a
graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import parse_json

METADATA_PREFIX = "calkd_edge."


@dataclass(frozen=True)
class GraphView:
    """Indices over one graph; created again after a change.

    Attributes:
        graph: the graph itself.
        producer: value name -> the node that makes it.
        consumers: value name -> the nodes that read it.
        initializers: name -> the stored tensor.
    """

    graph: onnx.GraphProto
    producer: dict[str, onnx.NodeProto]
    consumers: dict[str, list[onnx.NodeProto]]
    initializers: dict[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphView:
        """The view of a model's main graph."""
        consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in dict.fromkeys((*node.input, *sorted(read_inside(node)))):
                consumers[name].append(node)
        producer = {name: node for node in model.graph.node for name in node.output}
        return cls(
            model.graph, producer, consumers, {tensor.name: tensor for tensor in model.graph.initializer}
        )

    def array(self, name: str) -> np.ndarray:
        """A stored tensor's values, a copy."""
        return np.array(numpy_helper.to_array(self.initializers[name]))

    def constant(self, name: str) -> np.ndarray | None:
        """The values of a stored tensor or of a Constant node; None if they are computed."""
        if name in self.initializers:
            return self.array(name)
        maker = self.producer.get(name)
        stored = (
            attribute(maker, "value", None) if maker is not None and maker.op_type == "Constant" else None
        )
        return np.array(numpy_helper.to_array(stored)) if isinstance(stored, onnx.TensorProto) else None

    def is_output(self, name: str) -> bool:
        """Whether the graph returns this value."""
        return any(output.name == name for output in self.graph.output)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The only node that reads a value, once; None where more do, or the graph returns it."""
        readers = self.consumers[name]
        alone = len(readers) == 1 and list(readers[0].input).count(name) == 1
        return readers[0] if alone and not self.is_output(name) else None

    def unique(self, name: str) -> str:
        """`name`, with a number appended if a value has that name already."""
        free, number = name, 1
        while free in self.initializers or free in self.producer or free in self.consumers:
            number += 1
            free = f"{name}_{number}"
        return free

    def store(self, name: str, values: np.ndarray) -> str:
        """Add an initializer; returns its name: `name`, with a number appended if that is taken."""
        unique = self.unique(name)
        # Not ascontiguousarray, which turns a scalar into a vector.
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), unique)
        self.graph.initializer.append(tensor)
        self.initializers[unique] = self.graph.initializer[-1]  # append has made a copy
        return unique

    def overwrite(self, name: str, values: np.ndarray) -> None:
        """Replace the values of a stored tensor, for every node that reads it."""
        self.initializers[name].CopyFrom(numpy_helper.from_array(np.asarray(values, order="C"), name))

    def replace_nodes(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Replace all nodes of the graph by `nodes`, in this order; drop initializers that none reads."""
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)
        self.drop_unused()

    def sort(self) -> None:
        """Put the nodes into topological order; keep the present order where possible."""
        available = {*self.initializers, *(value.name for value in self.graph.input), ""}
        pending, ordered = list(self.graph.node), []
        while pending:
            fed = [node for node in pending if available.issuperset(node.input)]
            ready = [node for node in fed if not _waits(node, pending)]
            if not ready:
                raise ValueError(f"the graph has a cycle through '{pending[0].name}'")
            for node in ready:
                available.update(node.output)
            ordered += ready
            pending = [node for node in pending if not any(node is done for done in ready)]
        self.replace_nodes(ordered)

    def drop_unread(self) -> None:
        """Remove nodes that no output needs, and the initializers that only they read."""
        needed = {output.name for output in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
                needed.update(read_inside(node))
        self.replace_nodes(kept[::-1])

    def drop_unused(self) -> None:
        """Remove initializers that no node reads."""
        read = {name for node in self.graph.node for name in (*node.input, *read_inside(node))}
        read |= {output.name for output in self.graph.output}
        dropped = {tensor.name for tensor in self.graph.initializer if tensor.name not in read}
        inputs = [value for value in self.graph.input if value.name not in dropped]
        if len(inputs) < len(self.graph.input):  # older files list stored numbers among their inputs
            del self.graph.input[:]
            self.graph.input.extend(inputs)
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        self.initializers.clear()  # they are other objects now
        self.initializers.update({tensor.name: tensor for tensor in self.graph.initializer})


def _waits(node: onnx.NodeProto, pending: Sequence[onnx.NodeProto]) -> bool:
    """Whether a branch or body of a node reads a value that a pending node makes."""
    inside = read_inside(node)
    return bool(inside) and any(inside.intersection(other.output) for other in pending)


def read_inside(node: onnx.NodeProto) -> set[str]:
    """Names that the branches of an If or the body of a Loop read."""
    bodies = [item.g for item in node.attribute if item.type == onnx.AttributeProto.GRAPH]
    read = {name for body in bodies for inner in body.node for name in inner.input}
    return read.union(*(read_inside(inner) for body in bodies for inner in body.node))


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model, to be changed."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def typed_graph(model: onnx.ModelProto) -> onnx.GraphProto:
    """The graph with the types of its values, as far as onnx infers them; as it is, if they contradict."""
    try:
        return onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # onnx raises its own kinds, also where a declared size is only wrong
        return model.graph


def attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    """The value of a node's attribute, or the default."""
    match = next((item for item in node.attribute if item.name == name), None)
    return default if match is None else onnx.helper.get_attribute_value(match)


def number_of(node: onnx.NodeProto, name: str, default: float) -> float:
    """The value of a numeric attribute, or the default."""
    return float(attribute(node, name, default))  # type: ignore[arg-type]  # ONNX says so


def set_metadata(model: onnx.ModelProto, entries: Mapping[str, str | None]) -> None:
    """Write entries into metadata_props under our prefix; None removes the entry of that name."""
    known = {item.key: item.value for item in model.metadata_props}
    changed = {METADATA_PREFIX + key: value for key, value in entries.items()}
    known = {key: value for key, value in {**known, **changed}.items() if value is not None}
    del model.metadata_props[:]
    for key in sorted(known):
        model.metadata_props.add(key=key, value=known[key])


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Our entries of metadata_props, without the prefix."""
    return {
        item.key.removeprefix(METADATA_PREFIX): item.value
        for item in model.metadata_props
        if item.key.startswith(METADATA_PREFIX)
    }


def class_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """The class names in the metadata; empty when there are none.

    Raises:
        RecipeError: the entry is not a list of names.
    """
    text = metadata(model).get("classes", "[]")
    try:
        names = parse_json(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(
            f"the class names in the file's metadata cannot be read: {text[:80]!r}",
            remedy=f"Remove its metadata entry {METADATA_PREFIX}classes, or download the file again.",
        )
    return tuple(names)
