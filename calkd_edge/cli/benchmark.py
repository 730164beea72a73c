"""calkd-edge benchmark: how fast files run on a device, and whether int8 is worth it there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import typer

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
)
from calkd_edge.errors import RecipeError

LOAD = "Load"

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SOAK_S = 3 * 3600.0
FASTEST_HZ = 2000.0


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
        help="Folder for benchmark.json; runs/benchmark-DEVICE by default.",
        rich_help_panel=OUTPUT,
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
    begun = time.perf_counter()
    from calkd_edge.benchmarking.benchmark import Asked, write
    from calkd_edge.benchmarking.benchmark import benchmark as timed
    from calkd_edge.benchmarking.sources import newest_run
    from calkd_edge.cli import benchmark_screen
    from calkd_edge.cli.console import say
    from calkd_edge.devices.inventory import runtime_of
    from calkd_edge.devices.targets import split_runtime
    from calkd_edge.metrics.latency import PROCESSES

    if profile not in PROCESSES:
        raise RecipeError(f"--profile {profile}: not known", remedy=f"Valid: {', '.join(PROCESSES)}.")
    if rate is not None and not 0 < rate <= FASTEST_HZ:
        raise RecipeError(f"--rate {rate:g}: not possible", remedy=f"Ask for up to {FASTEST_HZ:g}.")
    name, runtime = split_runtime(device)
    path = newest_run(Path("runs")) if model is None else model
    if model is None:
        say("the newest finished run: {}", path)
    asked = Asked(
        device=name,
        runtime=runtime or runtime_of(name),
        profile=profile,
        precisions=tuple(precision or ()),
        rate_hz=rate,
        soak_s=None if soak is None else seconds_of(soak),
        threads=threads,
        images=images,
        store=store,
        baseline=baseline,
        clean=clean,
        begun=begun,
    )
    watcher = benchmark_screen.Watcher()
    try:
        found, runs = timed(path, asked, watcher.began)
    finally:
        watcher.stop()
    folder = out or Path("runs") / f"benchmark-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
    written = write(found, runs, folder)
    if as_json:
        print(written.model_dump_json(indent=1))
    else:
        benchmark_screen.show(written)
    say("  {}", folder / "benchmark.json")


def seconds_of(text: str) -> float:
    """Seconds of "600", "90s", "10m" or "1h".

    Raises:
        RecipeError: no duration, or one that is too short or too long.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 1 <= seconds <= LONGEST_SOAK_S:
        raise RecipeError(
            f"--soak {text}: not a duration from 1 s to {LONGEST_SOAK_S / 3600:g} h",
            remedy="Write --soak 10m.",
        )
    return seconds
