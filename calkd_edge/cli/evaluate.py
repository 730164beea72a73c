"""calkd-edge evaluate: score any ONNX classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.options import (
    IMAGES,
    ImagesOption,
    JsonOption,
    LayoutOption,
    MeanOption,
    RootOption,
    SeedOption,
    StdOption,
    ThreadsOption,
)

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

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A folder of class folders, or a data set's name (calkd-edge list datasets).",
        rich_help_panel=IMAGES,
    ),
]


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX classifier.")],
    data: DataOption,
    root: RootOption = None,
    images: ImagesOption = None,
    seed: SeedOption = 17,
    layout: LayoutOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Score any ONNX classifier on labelled images.

    The file runs on this machine, through the agent. A file made elsewhere may need --layout, --mean and
    --std.
    """
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
