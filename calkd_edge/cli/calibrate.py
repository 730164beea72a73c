"""calkd-edge calibrate: measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.evaluate import show_assumed
from calkd_edge.cli.options import (
    METHOD,
    OUTPUT,
    ChannelsOption,
    ClassesOption,
    ImageSizeOption,
    ImagesOption,
    JsonOption,
    LayoutOption,
    MeanOption,
    MethodOption,
    ResizeOption,
    RootOption,
    ScoresOption,
    ScoresOutputOption,
    SeedOption,
    StdOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from calkd_edge.records import Repair

INPUTS = "What is calibrated"


ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="An ONNX classifier.", rich_help_panel=INPUTS),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A folder of class folders, a data set's name, or an .npz of inputs and labels.",
        rich_help_panel=INPUTS,
    ),
]
PredictionsOption = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Saved logits and labels, .npz or .csv, instead of --model and --data.",
        rich_help_panel=INPUTS,
    ),
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the method. Repeatable.",
        rich_help_panel=METHOD,
    ),
]
ThresholdOption = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold",
        metavar="P",
        help="A confidence threshold to report on: --threshold 0.8. Repeatable.",
        rich_help_panel=METHOD,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write the calibrated ONNX file there, and a report beside it.",
        rich_help_panel=OUTPUT,
    ),
]


def calibrate(
    model: ModelOption = None,
    data: DataOption = None,
    predictions: PredictionsOption = None,
    method: MethodOption = "temperature",
    setting: SettingOption = None,
    threshold: ThresholdOption = None,
    root: RootOption = None,
    images: ImagesOption = None,
    seed: SeedOption = 17,
    threads: ThreadsOption = 1,
    classes: ClassesOption = None,
    layout: LayoutOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    channels: ChannelsOption = "rgb",
    image_size: ImageSizeOption = None,
    resize: ResizeOption = "crop",
    scores_output: ScoresOutputOption = None,
    scores: ScoresOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure or repair the confidence of an ONNX classifier.

    Prints confidence before and after calibration; --output writes the calibrated file. Each image is
    judged by a map that was fitted to other images (5 folds); the file gets the map fitted to all images.
    """
    from calkd_edge.external_models.calibrate import THRESHOLDS, report_location
    from calkd_edge.external_models.calibrate import calibrate as calibrate_model
    from calkd_edge.external_models.evaluate import parse_size, parse_triple
    from calkd_edge.recipe.source import assign

    settings: dict[str, Any] = {}
    for assignment in setting or ():
        assign(settings, assignment)
    result = calibrate_model(
        model,
        data,
        predictions=predictions,
        method=method,
        settings=settings,
        output=output,
        root=root,
        images=images,
        thresholds=threshold or THRESHOLDS,
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
    _show(result)
    if output is not None:
        folder, stem = report_location(output)
        for suffix in ("html", "json"):
            print_result(folder / f"{stem}.{suffix}")


def _show(result: Repair) -> None:
    """The same lines for a file and for predictions."""
    from calkd_edge.release.report import numbers
    from calkd_edge.release.report.repair_page import comparison, fold_description

    for name, before, after, change in comparison(result):
        print_result(f"{name:>16}  {before:<28} {after:<28} {change}".rstrip())
    fitted = result.calibration
    error = fitted.se[0] if fitted.se and len(fitted.se) == 1 else None
    temperature = numbers.temperature(fitted.temperature, error)
    print_result(
        f"{'calibration':>16}  {fitted.method}, T {temperature}, {fitted.status}; {fold_description(result)}"
    )
    for sentence in result.sentences:
        print_result(sentence)
    show_assumed(result.assumed, result.cautions)
