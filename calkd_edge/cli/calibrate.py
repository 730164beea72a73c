"""calkd-edge calibrate: measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calkd_edge.cli.options import (
    IMAGES,
    METHOD,
    MODEL_FILE,
    OUTPUT,
    JsonOption,
    LayoutOption,
    MeanOption,
    MethodOption,
    RootOption,
    SeedOption,
    StdOption,
    ThreadsOption,
    choice,
)
from calkd_edge.errors import RecipeError

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
ImagesOption = Annotated[
    int | None,
    typer.Option("--images", min=2, metavar="N", help="Use at most N images.", rich_help_panel=IMAGES),
]
ScoresOutputOption = Annotated[
    str | None,
    typer.Option(
        "--scores-output",
        metavar="NAME",
        help="The output that holds the scores, where the file has several.",
        rich_help_panel=MODEL_FILE,
    ),
]
ScoresOption = Annotated[
    str | None,
    typer.Option(
        "--scores",
        metavar="KIND",
        help="What that output holds: logits or probabilities.",
        rich_help_panel=MODEL_FILE,
        callback=choice("--scores", lambda: ("logits", "probabilities")),
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
    layout: LayoutOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    scores_output: ScoresOutputOption = None,
    scores: ScoresOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure or repair the confidence of an ONNX classifier.

    Prints confidence before and after calibration; --output writes the calibrated file. Each image is
    judged by a map that was fitted to other images (5 folds); the file gets the map fitted to all images.
    """
    from calkd_edge.external_models.answers import read_predictions
    from calkd_edge.external_models.evaluate import parse_triple
    from calkd_edge.external_models.repair import Asked, measure, repair
    from calkd_edge.external_models.running import Reading
    from calkd_edge.recipe.source import assign
    from calkd_edge.release.report.repair_page import write_repair

    if (predictions is None) == (model is None):
        raise RecipeError(
            "give --predictions FILE or --model FILE, one of them",
            remedy="calkd-edge calibrate --model m.onnx --data DIR --output calibrated.onnx",
        )
    if scores not in (None, "logits", "probabilities"):
        raise RecipeError(f"--scores {scores}: not known", remedy="Valid: logits, probabilities.")
    if output is not None and output.suffix != ".onnx":
        raise RecipeError(f"--output {output}: a file that ends in .onnx is written", remedy="Name it so.")
    settings: dict[str, Any] = {}
    for one in setting or ():
        assign(settings, one)
    chosen = tuple(sorted(set(threshold or Asked().thresholds)))
    if not all(0 < one < 1 for one in chosen):
        raise RecipeError(f"--threshold {chosen}: lies between 0 and 1", remedy="Give --threshold 0.8")
    asked = Asked(method=method, settings=settings, thresholds=chosen, seed=seed)
    if predictions is not None:
        if output is not None:
            raise RecipeError(
                "--output: predictions hold no file to calibrate",
                remedy="Leave it out, or give --model and --data instead of predictions.",
            )
        found = measure(read_predictions(predictions), asked, source=predictions.name)
    else:
        if data is None or model is None:
            raise RecipeError("--model needs --data", remedy="Give --data DIR, a data set, or inputs.npz.")
        found = repair(
            model,
            data,
            asked,
            root=root,
            limit=images,
            reading=Reading(
                layout=layout,
                mean=parse_triple("--mean", mean),
                std=parse_triple("--std", std),
                output=scores_output,
                scores=scores,  # type: ignore[arg-type]  # checked above
            ),
            threads=threads,
            output=output,
        )
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found)
    if output is not None:
        for path in write_repair(found, output.parent, f"{output.stem}.calibration"):
            if not as_json:
                print(path)


def _show(found: Repair) -> None:
    """The same lines for a file and for predictions."""
    from calkd_edge.release.report import numbers
    from calkd_edge.release.report.repair_page import comparison, how

    for name, before, after, change in comparison(found):
        print(f"{name:>16}  {before:<28} {after:<28} {change}".rstrip())
    fitted = found.calibration
    error = fitted.se[0] if fitted.se and len(fitted.se) == 1 else None
    told = numbers.temperature(fitted.temperature, error)
    print(f"{'calibration':>16}  {fitted.method}, T {told}, {fitted.status}; {how(found)}")
    for sentence in found.sentences:
        print(sentence)
