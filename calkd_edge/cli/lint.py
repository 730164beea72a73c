"""calkd-edge lint: an ONNX file against the rules of what is to run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calkd_edge.cli.options import JsonOption, TargetOption
from calkd_edge.errors import GateFailed, RecipeError

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
            help="Compile it too, for SM80 to SM121: --compile SM87. Needs the extra [trt-check].",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold an ONNX file against TensorRT's rules, and those that it should have; exit 3 where one is broken.

    Nothing of TensorRT is needed, but for --compile: NVIDIA's compiler on this machine's CPU.
    """
    from calkd_edge.onnx_model.lint import RULES
    from calkd_edge.onnx_model.lint import lint as linted
    from calkd_edge.onnx_model.lint.compiled import compiled
    from calkd_edge.onnx_model.read import read_onnx

    if target not in RULES:
        raise RecipeError(f"--target {target}: not known", remedy=f"Valid: {', '.join(RULES)}.")
    found = linted(read_onnx(model), model, target)  # type: ignore[arg-type]  # checked above
    if compile_for is not None:
        found = found.model_copy(update={"compilation": compiled(model, compile_for)})
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found)
    refused = len(found.errors) + len(found.compilation.errors if found.compilation else ())
    if refused:
        raise GateFailed(
            f"{model}: {refused} finding(s) with which it is not to be shipped",
            remedy="Mend them as said above, and look again.",
        )


def _show(found: Lint) -> None:
    """A line for each finding, with its remedy below it, and how many there are."""
    for one in found.findings:
        more = f" (and at {one.places - 1} more)" if one.places > 1 else ""
        print(f"{one.severity}: {one.rule}: {f'{one.node}{more}: ' if one.node else ''}{one.message}")
        print(f"    {one.remedy}")
    counts = [
        sum(one.severity == severity for one in found.findings) for severity in ("error", "warning", "note")
    ]
    print(
        f"{found.file}: {found.nodes} nodes, opset {found.opset}; for {found.target} "
        f"{counts[0]} errors, {counts[1]} warnings, {counts[2]} notes"
    )
    if found.compilation is not None:
        made = found.compilation
        for error in made.errors:
            print(f"error: {made.compiler}: {error}")
        types = ", ".join(f"{count} {name}" for name, count in sorted(made.weighted.items()))
        print(
            f"{made.compiler}, {made.capability}: {made.kernels} kernels; products run in: {types or 'none'}"
        )
