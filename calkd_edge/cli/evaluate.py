"""calkd-edge evaluate: score any ONNX classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.compress import JsonOption

FIGURES = (
    "top1",
    "top5",
    "nll",
    "brier",
    "ece",
    "ece_over",
    "ece_under",
    "ace_classwise",
    "ace_toplabel",
)


def evaluate(
    model: Annotated[Path, typer.Argument(help="An ONNX classifier.")],
    data: Annotated[str, typer.Option("--data", help="A folder of class folders, or a data set's name.")],
    root: Annotated[Path | None, typer.Option("--root", help="Where a named data set is.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=2, help="Score at most this many.")] = None,
    layout: Annotated[str | None, typer.Option("--layout", help="nchw or nhwc, for a foreign file.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="R,G,B in 0..1, for a float input.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="R,G,B in 0..1, for a float input.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 17,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Score any ONNX classifier on labelled images, through the agent on this machine."""
    from calkd_edge.external_models.evaluate import evaluate as evaluate_model
    from calkd_edge.external_models.evaluate import parse_triple

    result = evaluate_model(
        model,
        data,
        root=root,
        images=images,
        layout=layout,
        mean=parse_triple("--mean", mean),
        std=parse_triple("--std", std),
        seed=seed,
        threads=threads,
    )
    if as_json:
        print(result.model_dump_json(indent=1))
        return
    for name in FIGURES:
        figure = getattr(result, name)
        print(f"{name:>14}  {figure.value:.4f}  [{figure.low:.4f}, {figure.high:.4f}]")
    print(f"{'images':>14}  {result.data}")
