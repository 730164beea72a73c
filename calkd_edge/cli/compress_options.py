"""The options of `calkd-edge compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calkd_edge.cli.options import OUTPUT, RECIPE, choice, complete_recipe, folder_named

DEVICES = "Devices"
RUN = "How it runs"


def _accelerators() -> tuple[str, ...]:
    from calkd_edge.pipeline.options import ACCELERATORS

    return ACCELERATORS


RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a packaged recipe (calkd-edge list recipes).",
        autocompletion=complete_recipe,
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="The same as the argument RECIPE.",
        autocompletion=complete_recipe,
        rich_help_panel=RECIPE,
    ),
]
AddedDeviceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME[:RUNTIME]",
        help="Add a device to measure on: a name of your inventory, or user@host. Repeatable.",
        rich_help_panel=DEVICES,
    ),
]
SkipDeviceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--skip-device",
        metavar="NAME",
        help="Leave a device out; its gates are unmeasured. Repeatable.",
        rich_help_panel=DEVICES,
    ),
]
ReuseOption = Annotated[
    bool,
    typer.Option(
        "--reuse-measurements",
        help="Keep latencies that are older than the recipe allows.",
        rich_help_panel=DEVICES,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.", rich_help_panel=RUN)]
SmokeOption = Annotated[
    bool,
    typer.Option("--smoke", help="Run the same plan with tiny numbers.", rich_help_panel=RUN),
]
FreshOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fresh",
        metavar="STAGE",
        help="Run this stage again, with all that depend on it; --dry-run lists them. Repeatable.",
        rich_help_panel=RUN,
    ),
]
AcceleratorOption = Annotated[
    str,
    typer.Option(
        "--accelerator",
        metavar="NAME",
        help="Where training runs: auto, cpu or cuda.",
        rich_help_panel=RUN,
        callback=choice("--accelerator", _accelerators),
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        help="Processes for training, under torchrun.",
        rich_help_panel=RUN,
    ),
]
NodesOption = Annotated[
    int,
    typer.Option(
        "--nodes",
        min=1,
        metavar="N",
        help="Machines that train, each with --processes; the others join by the shared store.",
        rich_help_panel=RUN,
    ),
]
RendezvousOption = Annotated[
    str | None,
    typer.Option(
        "--rendezvous",
        metavar="HOST:PORT",
        help="This machine as the others see it, and a free port; its name and 29400 by default.",
        rich_help_panel=RUN,
    ),
]
ParityOption = Annotated[
    bool,
    typer.Option(
        "--debug-parity",
        help="Compare exported files with torch layer by layer.",
        rich_help_panel=RUN,
    ),
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log-to",
        metavar="TRACKER",
        help="Log the finished run to tensorboard, mlflow or wandb, by its own client. Repeatable.",
        rich_help_panel=OUTPUT,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        parser=folder_named("--out"),
        help="Folder for report, models and bundle; runs/NAME by default.",
        rich_help_panel=OUTPUT,
    ),
]
UndecidedOption = Annotated[
    bool,
    typer.Option(
        "--allow-undecided",
        help="Write a bundle for an undecided release too.",
        rich_help_panel=OUTPUT,
    ),
]
