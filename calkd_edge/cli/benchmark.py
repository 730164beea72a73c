"""calkd-edge benchmark: time files on a device, and say whether int8 is worth it there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import (
    DEFAULT_STORE,
    IMAGES,
    MEASUREMENT,
    OUTPUT,
    DeviceOption,
    JsonOption,
    ProfileOption,
    StoreToReadOption,
    ThreadsOption,
    folder_named,
)
from calkd_edge.errors import RecipeError

LOAD = "Load"

ModelArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="A run's folder, a bundle.zip or an ONNX file; the newest run in ./runs by default.",
    ),
]
PrecisionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Time only this precision of a run, such as int8. Repeatable.",
        rich_help_panel=MEASUREMENT,
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="An earlier benchmark.json to compare with.",
        rich_help_panel=MEASUREMENT,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="HZ",
        help="Start one inference at each tick of a clock: --rate 30 for a camera.",
        rich_help_panel=LOAD,
    ),
]
SoakOption = Annotated[
    str | None,
    typer.Option(
        "--soak",
        metavar="TIME",
        help="One long run, such as 10m; compares its first minute with its last.",
        rich_help_panel=LOAD,
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="PATH",
        help="An .npy file or a folder of images; the run's test images by default.",
        rich_help_panel=IMAGES,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        parser=folder_named("--out"),
        help="Folder for benchmark.json; runs/benchmark-DEVICE by default.",
        rich_help_panel=OUTPUT,
    ),
]
FailOnWorseOption = Annotated[
    bool,
    typer.Option(
        "--fail-on-worse",
        help="Exit with 3 if a file is worse than the baseline's, with 4 if the runs do not decide.",
        rich_help_panel=MEASUREMENT,
    ),
]
CleanOption = Annotated[bool, typer.Option("--clean", help="Empty the device's cache afterwards.")]


def benchmark(
    model: ModelArgument = None,
    device: DeviceOption = "local",
    profile: ProfileOption = "quick",
    precision: PrecisionOption = None,
    threads: ThreadsOption = 1,
    baseline: BaselineOption = None,
    fail_on_worse: FailOnWorseOption = False,
    rate: RateOption = None,
    soak: SoakOption = None,
    images: ImagesOption = None,
    store: StoreToReadOption = DEFAULT_STORE,
    out: OutOption = None,
    as_json: JsonOption = False,
    clean: CleanOption = False,
) -> None:
    """Time model files on a device, and compare precisions.

    Says for each precision whether it is worth it there: what it gains in time and loses in accuracy.
    """
    from calkd_edge.benchmarking.baseline import check_against_baseline
    from calkd_edge.benchmarking.benchmark import benchmark as benchmark_files
    from calkd_edge.benchmarking.options import folder_of
    from calkd_edge.benchmarking.sources import newest_run
    from calkd_edge.cli import benchmark_screen
    from calkd_edge.cli.console import say
    from calkd_edge.devices.targets import split_runtime

    if fail_on_worse and baseline is None:
        raise RecipeError(
            "--fail-on-worse: there is no baseline to be worse than",
            remedy="Name an earlier benchmark.json: --baseline PATH",
        )
    path = newest_run(Path("runs")) if model is None else model
    if model is None:
        say("the newest finished run: {}", path)
    watcher = benchmark_screen.Watcher()
    try:
        result = benchmark_files(
            path,
            device=device,
            profile=profile,
            rate_hz=rate,
            soak=soak,
            threads=threads,
            precisions=precision or (),
            baseline=baseline,
            images=images,
            store=store,
            out=out,
            clean=clean,
            on_process=watcher.started,
        )
    finally:
        watcher.stop()
    if as_json:
        print_result(result.model_dump_json(indent=1))
    else:
        benchmark_screen.show(result)
    say("  {}", folder_of(split_runtime(device)[0], out) / "benchmark.json")
    if fail_on_worse:
        check_against_baseline(result)
