"""All rules over one file, and the list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import onnx

from calkd_edge.errors import StageFailed
from calkd_edge.files import sha256_of
from calkd_edge.onnx_model.lint import cpu, graph, quantized
from calkd_edge.onnx_model.lint.view import Looked, Rule, Seen
from calkd_edge.records import Finding, Lint, Target

_TENSORRT: tuple[Rule, ...] = (
    graph.opset,
    graph.operators,
    graph.restrictions,
    graph.types,
    graph.sizes,
    quantized.quantized_types,
    quantized.zero_points,
    quantized.scales,
    quantized.scale_axes,
    quantized.loose_ends,
    quantized.half_quantized,
    quantized.before_activation,
    quantized.twice,
    quantized.weight_range,
    quantized.float_layers,
    graph.numbers,
    graph.branches,
    graph.junk,
)
_ONNXRUNTIME: tuple[Rule, ...] = (
    cpu.shared_numbers,
    cpu.rounded_biases,
    cpu.not_fused,
    quantized.scales,
    cpu.half_quantized,
    quantized.float_layers,
    graph.numbers,
    graph.junk,
)
RULES: Mapping[Target, tuple[Rule, ...]] = MappingProxyType(
    {"tensorrt": _TENSORRT, "onnxruntime": _ONNXRUNTIME}
)
"""By what is to run the file: each a function whose name and docstring are what people see."""

_ORDER = ("error", "warning", "note")


def lint(model: onnx.ModelProto, path: Path, target: Target = "tensorrt") -> Lint:
    """Everything that the rules for `target` find in a file, errors first.

    Args:
        model: as read from `path`.
        path: for its name and SHA-256.
        target: "tensorrt", or "onnxruntime" for its CPU kernels.
    """
    found = findings(model, target)
    return Lint(
        file=path.name,
        sha256=sha256_of(path),
        target=target,
        opset=Looked(model).opset,
        nodes=len(model.graph.node),
        findings=found,
    )


def findings(model: onnx.ModelProto, target: Target = "tensorrt") -> tuple[Finding, ...]:
    """The same of a model in memory; what is found at many nodes is told once, with their number."""
    together: dict[tuple[str, ...], Finding] = {}
    for one in _found(model, target):
        key = (one.rule, one.severity, _without_names(one.message), one.remedy)
        first = together.get(key)
        together[key] = one if first is None else first.model_copy(update={"places": first.places + 1})
    return tuple(sorted(together.values(), key=lambda one: _ORDER.index(one.severity)))


def _found(model: onnx.ModelProto, target: Target) -> Iterator[Finding]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as wrong:  # onnx raises its own kinds, all of them meaning this
        seen = Seen("error", "", f"no valid ONNX: {str(wrong).strip().splitlines()[0]}", "Export it anew.")
        yield _finding("valid", seen)
    looked = Looked(model)
    for rule in RULES[target]:
        for seen in rule(looked):
            yield _finding(rule.__name__, seen)


def _finding(rule: str, seen: Seen) -> Finding:
    return Finding(rule=rule.replace("_", "-"), places=1, **seen._asdict())


def _without_names(message: str) -> str:
    """A message without what stands in quotes: the names that differ from node to node."""
    return "".join(message.split("'")[::2])


def refuse_errors(found: Lint) -> None:
    """Stop at a file that its own runtime should not get.

    Raises:
        StageFailed: with the first error.
    """
    if found.errors:
        first = found.errors[0]
        raise StageFailed(
            f"{found.file} is not fit for {found.target}: {first.rule}: {first.node}: {first.message}",
            remedy=first.remedy,
        )
