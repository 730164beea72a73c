"""calkd-edge evaluate: score any ONNX classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import (
    IMAGES,
    ChannelsOption,
    ClassesOption,
    ImageSizeOption,
    ImagesOption,
    JsonOption,
    LayoutOption,
    MeanOption,
    ResizeOption,
    RootOption,
    ScoresOption,
    ScoresOutputOption,
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

MANY = 1e5
"""Larger figures are shown with a power of ten."""

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A folder of class folders, a data set's name (calkd-edge list datasets), or an .npz of inputs "
        "and labels.",
        rich_help_panel=IMAGES,
    ),
]


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX classifier.")],
    data: DataOption,
    root: RootOption = None,
    images: ImagesOption = None,
    seed: SeedOption = 17,
    classes: ClassesOption = None,
    layout: LayoutOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = "rgb",
    image_size: ImageSizeOption = None,
    resize: ResizeOption = "crop",
    scores_output: ScoresOutputOption = None,
    scores: ScoresOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Score any ONNX classifier on labelled images.

    The file runs on this machine, through the agent. A file made elsewhere may need --mean and --std; what
    was inferred about it is printed under "assumed".
    """
    from calkd_edge.external_models.evaluate import evaluate as evaluate_model
    from calkd_edge.external_models.evaluate import parse_size, parse_triple

    result = evaluate_model(
        model,
        data,
        root=root,
        images=images,
        classes=classes,
        layout=layout,
        mean=parse_triple("--mean", mean),
        std=parse_triple("--std", std),
        channels=channels,
        image_size=parse_size(image_size),
        resize=resize,  # type: ignore[arg-type]  # checked by the function
        scores_output=scores_output,
        scores=scores,  # type: ignore[arg-type]  # checked by the function
        seed=seed,
        threads=threads,
    )
    if as_json:
        print_result(result.model_dump_json(indent=1))
        return
    for name in FIGURES:
        figure = getattr(result, name)
        value, low, high = (_shown(number) for number in (figure.value, figure.low, figure.high))
        print_result(f"{name:>14}  {value}  [{low}, {high}]")
    print_result(f"{'images':>14}  {result.data}")
    show_assumed(result.assumed, result.cautions)


def show_assumed(assumed: Mapping[str, str], cautions: Sequence[str]) -> None:
    """What was inferred about a file and its data, and where that may be wrong."""
    if assumed:
        print_result("assumed:")
    for name, sentence in assumed.items():
        print_result(f"{name:>14}  {sentence}")
    for caution in cautions:
        print_result(f"{'caution':>14}  {caution}")


def _shown(number: float) -> str:
    return f"{number:.4f}" if abs(number) < MANY else f"{number:.4g}"
