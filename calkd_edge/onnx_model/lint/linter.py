"""The linter: which rules apply to which target, and their findings in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import onnx

from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.onnx_model.lint import cpu, graph, quantized
from calkd_edge.onnx_model.lint.compilation import compile_file
from calkd_edge.onnx_model.lint.view import InspectedModel, NodeFinding, Rule
from calkd_edge.onnx_model.read import content_sha256, read_onnx
from calkd_edge.onnx_model.validity import invalid_reason
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
"""By target: functions whose names are the rules' ids, and whose docstrings describe them."""

_ORDER = ("error", "warning", "note")


def lint(model: str | Path, *, target: str = "tensorrt", compile_for: str | None = None) -> Lint:
    """Check an ONNX file against the rules of the runtime that will execute it; errors come first.

    Needs neither torch nor TensorRT, except for `compile_for`: NVIDIA's compiler on this machine's CPU.

    Example:
        >>> import onnx
        >>> from onnx import TensorProto, helper
        >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
        >>> y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
        >>> graph = helper.make_graph([helper.make_node("Bernoulli", ["x"], ["y"])], "graph", [x], [y])
        >>> onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), "model.onnx")
        >>> [(error.rule, error.message) for error in lint("model.onnx").errors]
        [('operators', 'TensorRT has no Bernoulli')]

    Args:
        model: path of the file.
        target: "tensorrt", or "onnxruntime" for its CPU kernels.
        compile_for: one of CAPABILITIES, to compile the file for as well; needs the extra [trt-check].

    Raises:
        RecipeError: the file is not a readable ONNX model, or the target or the capability is not known.
        EnvironmentProblem: `compile_for` is set and the extra is not installed.
    """
    if target not in RULES:
        raise RecipeError(
            f"there are no rules for the target '{target}'", remedy=f"Valid targets: {', '.join(RULES)}."
        )
    path = Path(model)
    result = lint_model(read_onnx(path), path, cast(Target, target))
    if compile_for is None:
        return result
    return result.model_copy(update={"compilation": compile_file(path, compile_for)})


def lint_model(model: onnx.ModelProto, path: Path, target: Target = "tensorrt") -> Lint:
    """Check a model in memory, as `lint` does.

    Args:
        model: as read from `path`.
        path: for its name and SHA-256.
        target: "tensorrt", or "onnxruntime" for its CPU kernels.
    """
    return Lint(
        file=path.name,
        sha256=content_sha256(path),
        target=target,
        opset=InspectedModel(model).opset,
        nodes=len(model.graph.node),
        findings=findings(model, target),
    )


def findings(model: onnx.ModelProto, target: Target = "tensorrt") -> tuple[Finding, ...]:
    """The findings of all rules, errors first; one finding at many nodes is listed once with their number."""
    merged: dict[tuple[str, ...], Finding] = {}
    for finding in _each_finding(model, target):
        key = (finding.rule, finding.severity, _without_names(finding.message), finding.remedy)
        first = merged.get(key)
        merged[key] = finding if first is None else first.model_copy(update={"places": first.places + 1})
    return tuple(sorted(merged.values(), key=lambda finding: _ORDER.index(finding.severity)))


def _each_finding(model: onnx.ModelProto, target: Target) -> Iterator[Finding]:
    reason = invalid_reason(model)
    if reason is not None:
        yield _finding("valid", NodeFinding("error", "", f"not valid ONNX: {reason}", "Export it again."))
    inspected = InspectedModel(model)
    for rule in RULES[target]:
        try:
            found = list(rule(inspected))
        except Exception:  # rules expect a valid file; of any other they tell what they can
            if reason is None:
                raise
            continue
        for finding in found:
            yield _finding(rule.__name__, finding)


def _finding(rule: str, finding: NodeFinding) -> Finding:
    return Finding(rule=rule.replace("_", "-"), places=1, **finding._asdict())


def _without_names(message: str) -> str:
    """A message without its quoted parts: the names that differ from node to node."""
    return "".join(message.split("'")[::2])


def refuse_errors(result: Lint) -> None:
    """Stop at a file that its own runtime must not get.

    Raises:
        StageFailed: with the first error.
    """
    if result.errors:
        first = result.errors[0]
        raise StageFailed(
            f"{result.file} is not fit for {result.target}: {first.rule}: {first.node}: {first.message}",
            remedy=first.remedy,
        )
