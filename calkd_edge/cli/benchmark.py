"""calkd-edge benchmark: how fast files run on a device, and whether int8 is worth it there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    model: Annotated[
        Path | None,
        typer.Argument(help="A run's folder, its bundle.zip or an ONNX file; the newest run in ./runs."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="NAME[:RUNTIME].")] = "local",
    profile: Annotated[
        str, typer.Option("--profile", help="quick; standard: 3 processes of 60 s; certify: of 600 s.")
    ] = "quick",
    rate: Annotated[
        float | None, typer.Option("--rate", help="Begin one inference at each tick, so many a second.")
    ] = None,
    soak: Annotated[
        str | None, typer.Option("--soak", help="One long run, such as 10m: its first minute and its last.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of the runtime.")] = 1,
    precision: Annotated[
        list[str] | None, typer.Option("--precision", help="Only this; may be repeated.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="An earlier benchmark.json to compare with.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="An .npy file or a folder; else the run's own.")
    ] = None,
    store: Annotated[
        Path, typer.Option("--store", help="Published stages: where the run has its images from.")
    ] = Path(".calkd"),
    out: Annotated[Path | None, typer.Option("--out", help="Default: runs/benchmark-DEVICE.")] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Empty the device's cache afterwards.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Time every precision of a run on a device, side by side; say whether int8 is worth it there."""
    from calkd_edge.benchmarking.benchmark import benchmark as benchmark_files
    from calkd_edge.benchmarking.options import folder_of
    from calkd_edge.benchmarking.sources import newest_run
    from calkd_edge.cli import benchmark_screen
    from calkd_edge.cli.console import say
    from calkd_edge.devices.targets import split_runtime

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
            on_process=watcher.began,
        )
    finally:
        watcher.stop()
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        benchmark_screen.show(result)
    say("  {}", folder_of(split_runtime(device)[0], out) / "benchmark.json")
