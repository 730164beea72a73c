"""Options that several commands share, and checks of option values that name the valid ones.

In scope: declarations for the parser. Out of scope: what the commands do with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.errors import RecipeError, did_you_mean

DEFAULT_STORE = Path(".calkd")

RECIPE = "Recipe"
MEASUREMENT = "What is measured"
OUTPUT = "Output"
IMAGES = "Images"
MODEL_FILE = "Files made elsewhere"
METHOD = "Calibration"


def choice(option: str, valid: Callable[[], Iterable[str]]) -> Callable[[str | None], str | None]:
    """A parser callback that refuses a value outside of `valid`, with the nearest valid one.

    Args:
        option: as typed, for the message.
        valid: called when the option is parsed, so that nothing is imported for a help text.
    """

    def check(value: str | None) -> str | None:
        names = None if value is None else list(valid())
        if value is not None and names is not None and value not in names:
            raise RecipeError(
                f"{option} {value}: not known",
                remedy=f"{did_you_mean(value, names)}Valid: {', '.join(names)}.",
            )
        return value

    return check


def folder_named(option: str) -> Callable[[str | Path], Path]:
    """A parser of an option that names a folder: refuses the empty text."""

    def parsed(text: str | Path) -> Path:
        from calkd_edge.files.paths import named_folder

        return named_folder(text, option)

    return parsed


def store_to_read(value: Path) -> Path:
    """A parser callback for commands that only read a store: refuses one that does not exist.

    The default may be absent: it is created by the first run.
    """
    from calkd_edge.engine.store import existing_store
    from calkd_edge.files.paths import check_path

    check_path(value, "--store")
    if value != DEFAULT_STORE:
        existing_store(value)
    return value


def _profiles() -> Iterable[str]:
    from calkd_edge.metrics.latency import PROCESSES

    return PROCESSES


def _targets() -> Iterable[str]:
    from calkd_edge.onnx_model.lint import RULES

    return RULES


def complete_recipe(incomplete: str) -> list[str]:
    """Names of packaged recipes that start with what is typed."""
    from calkd_edge.recipe.source import packaged

    return [name for name in packaged() if name.startswith(incomplete)]


def complete_kind(incomplete: str) -> list[str]:
    """Kinds of names that start with what is typed."""
    from calkd_edge.pipeline.listing import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=OUTPUT),
]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        metavar="DIR",
        parser=folder_named("--store"),
        help="Folder of published stages.",
        rich_help_panel=OUTPUT,
    ),
]
StoreToReadOption = Annotated[
    Path,
    typer.Option(
        "--store",
        metavar="DIR",
        parser=folder_named("--store"),
        help="Folder of published stages, where a run's images are read from.",
        rich_help_panel=IMAGES,
        callback=store_to_read,
    ),
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a recipe value: --set distill.epochs=3. Repeatable.",
        rich_help_panel=RECIPE,
    ),
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        help="Import a Python module that registers names. Repeatable.",
        rich_help_panel=RECIPE,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME[:RUNTIME]",
        help="Device to measure: local, a name of your inventory, or user@host.",
        rich_help_panel=MEASUREMENT,
    ),
]
ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="quick (3 processes of a second), standard (3 of 60 s) or certify (3 of 600 s).",
        rich_help_panel=MEASUREMENT,
        callback=choice("--profile", _profiles),
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="tensorrt, or onnxruntime for its CPU kernels.",
        callback=choice("--target", _targets),
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Calibration method; see: calkd-edge list calibrators.",
        rich_help_panel=METHOD,
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder of a named data set.", rich_help_panel=IMAGES),
]
ImagesOption = Annotated[
    int | None,
    typer.Option("--images", min=2, metavar="N", help="Use at most N images.", rich_help_panel=IMAGES),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, metavar="N", help="Seed of the choice of images.", rich_help_panel=IMAGES),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads of the runtime.", rich_help_panel=MEASUREMENT
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="NAME",
        help="Order of the input's axes: nchw or nhwc.",
        rich_help_panel=MODEL_FILE,
        callback=choice("--layout", lambda: ("nchw", "nhwc")),
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="Mean of red, green and blue in 0..1, for a float input: 0.485,0.456,0.406.",
        rich_help_panel=MODEL_FILE,
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="R,G,B",
        help="Standard deviation of red, green and blue in 0..1: 0.229,0.224,0.225.",
        rich_help_panel=MODEL_FILE,
    ),
]
ChannelsOption = Annotated[
    str,
    typer.Option(
        "--channels",
        metavar="ORDER",
        help="Order in which the file takes the channels: rgb or bgr.",
        rich_help_panel=MODEL_FILE,
        callback=choice("--channels", lambda: ("rgb", "bgr")),
    ),
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(
        "--image-size",
        metavar="H[xW]",
        help="Size of the images, where the file leaves it open: 224.",
        rich_help_panel=MODEL_FILE,
    ),
]
ResizeOption = Annotated[
    str,
    typer.Option(
        "--resize",
        metavar="HOW",
        help="How photos of a folder get the model's size: crop (middle square), center_crop (7/8 of its "
        "sides, as resizing to 256 and cutting to 224 does), pad (black bars) or stretch.",
        rich_help_panel=IMAGES,
    ),
]
ClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Text file with the names of the class folders in the model's order, one on each line.",
        rich_help_panel=MODEL_FILE,
    ),
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
