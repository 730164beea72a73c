"""calkd-edge lint: check an ONNX file against the rules of the runtime that will execute it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import JsonOption, TargetOption
from calkd_edge.errors import GateFailed

if TYPE_CHECKING:
    from calkd_edge.records import Lint


def lint(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    target: TargetOption = "tensorrt",
    compile_for: Annotated[
        str | None,
        typer.Option(
            "--compile",
            metavar="SM",
            help="Compile it too: SM80, SM86, SM89, SM120, SM121. Needs the extra [trt-check].",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check an ONNX file against the rules of a runtime.

    Exits with 3 if it breaks one. TensorRT is not needed, except for --compile, which uses NVIDIA's compiler
    on this machine's CPU.
    """
    from calkd_edge.onnx_model.lint import lint as lint_file

    result = lint_file(model, target=target, compile_for=compile_for)
    if as_json:
        print_result(result.model_dump_json(indent=1))
    else:
        _show(result)
    errors = len(result.errors) + len(result.compilation.errors if result.compilation else ())
    if errors:
        raise GateFailed(
            f"{model}: {errors} errors, so it must not be shipped",
            remedy="Fix each error as its second line says, then run lint again.",
        )


def _show(result: Lint) -> None:
    """Print each finding with its remedy below it, and the counts."""
    for finding in result.findings:
        more = f" (and at {finding.places - 1} more)" if finding.places > 1 else ""
        node = f"{finding.node}{more}: " if finding.node else ""
        print_result(f"{finding.severity}: {finding.rule}: {node}{finding.message}")
        print_result(f"    {finding.remedy}")
    errors, warnings, notes = (
        sum(finding.severity == severity for finding in result.findings)
        for severity in ("error", "warning", "note")
    )
    print_result(
        f"{result.file}: {result.nodes} nodes, opset {result.opset}; for {result.target} "
        f"{errors} errors, {warnings} warnings, {notes} notes"
    )
    if result.compilation is not None:
        plan = result.compilation
        for error in plan.errors:
            print_result(f"error: {plan.compiler}: {error}")
        types = ", ".join(f"{count} {name}" for name, count in sorted(plan.weighted.items()))
        print_result(
            f"{plan.compiler}, {plan.capability}: {plan.kernels} kernels; products run in: {types or 'none'}"
        )
