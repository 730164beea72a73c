"""calkd-edge calibrate: measure or repair the confidence of any ONNX classifier, or of saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from calkd_edge.external_models.calibrate import THRESHOLDS, report_location
    from calkd_edge.external_models.calibrate import calibrate as calibrate_model
    from calkd_edge.external_models.evaluate import parse_triple
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
        layout=layout,
        mean=parse_triple("--mean", mean),
        std=parse_triple("--std", std),
        scores_output=scores_output,
        scores=scores,  # type: ignore[arg-type]  # checked by the function
        seed=seed,
        threads=threads,
    )
    if as_json:
        print(result.model_dump_json(indent=1))
        return
    _show(result)
    if output is not None:
        folder, stem = report_location(output)
        for suffix in ("html", "json"):
            print(folder / f"{stem}.{suffix}")


def _show(result: Repair) -> None:
    """The same lines for a file and for predictions."""
    from calkd_edge.release.report import numbers
    from calkd_edge.release.report.repair_page import comparison, fold_description

    for name, before, after, change in comparison(result):
        print(f"{name:>16}  {before:<28} {after:<28} {change}".rstrip())
    fitted = result.calibration
    error = fitted.se[0] if fitted.se and len(fitted.se) == 1 else None
    temperature = numbers.temperature(fitted.temperature, error)
    print(
        f"{'calibration':>16}  {fitted.method}, T {temperature}, {fitted.status}; {fold_description(result)}"
    )
    for sentence in result.sentences:
        print(sentence)
