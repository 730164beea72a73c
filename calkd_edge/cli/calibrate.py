"""calkd-edge calibrate: measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calkd_edge.errors import RecipeError

if TYPE_CHECKING:
    from calkd_edge.records import Repair


def calibrate(
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Saved logits and labels, .npz or .csv, instead of a model."),
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="An ONNX classifier.")] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="A folder of class folders, a data set, or an .npz of inputs, labels."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="See: calkd-edge list calibrators")] = "temperature",
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the method.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the calibrated file, and a report beside it.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="Where a named data set lies.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=2, help="Use at most this many.")] = None,
    threshold: Annotated[
        list[float] | None, typer.Option("--threshold", help="On confidence; may be repeated.")
    ] = None,
    layout: Annotated[str | None, typer.Option("--layout", help="nchw or nhwc, for a foreign file.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="R,G,B in 0..1, for a float input.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="R,G,B in 0..1, for a float input.")] = None,
    scores_output: Annotated[
        str | None, typer.Option("--scores-output", help="Which output holds the scores.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option("--scores", help="logits or probabilities, where no softmax is found.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 17,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure confidence before and after calibration; with --output, write the calibrated file.

    Each image is judged by a map that was fitted to other images (5 folds); the file gets the map fitted to
    all.
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
    from calkd_edge.release.report.repair_page import comparison, fold_description

    for name, before, after, change in comparison(found):
        print(f"{name:>16}  {before:<28} {after:<28} {change}".rstrip())
    fitted = found.calibration
    error = fitted.se[0] if fitted.se and len(fitted.se) == 1 else None
    told = numbers.temperature(fitted.temperature, error)
    print(f"{'calibration':>16}  {fitted.method}, T {told}, {fitted.status}; {fold_description(found)}")
    for sentence in found.sentences:
        print(sentence)
