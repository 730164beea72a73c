"""calkd-edge doctor: what a device is, what runs on it, what it lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from calkd_edge.cli.options import JsonOption
from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean


def doctor(
    device: Annotated[
        str,
        typer.Option("--device", metavar="NAME", help="local, a name of your inventory, or user@host."),
    ] = "local",
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove everything that was sent to the device, then stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine a device: what it is, what runs on it, what it lacks.

    Exits with 2 if no device has that name, 5 if it does not answer, 6 if no runtime there can run a model.
    """
    device = _without_runtime(device)
    if clean:
        _clean(device)
        return
    from calkd_edge.cli.doctor_screen import show
    from calkd_edge.devices.doctor import examine
    from calkd_edge.devices.session import open_session

    with open_session(device) as session:
        report = examine(device, session.doctor())
    if as_json:
        print(report.model_dump_json(indent=1))
    else:
        show(report)
    if not report.usable:
        lacking = next((item for item in report.symptoms if item.kind == "missing" and item.remedy), None)
        raise EnvironmentProblem(
            f"{device}: nothing there can run a model{f': {lacking.what}' if lacking else ''}",
            remedy=lacking.remedy
            if lacking
            else "Install what the lines above name for one of the runtimes.",
        )


def _without_runtime(device: str) -> str:
    """The name in NAME[:RUNTIME], which other commands take; the runtime makes no difference here.

    Raises:
        RecipeError: no runtime has that name.
    """
    from calkd_edge.agent.runtimes import RUNTIMES
    from calkd_edge.devices.targets import split_runtime

    name, runtime = split_runtime(device)
    if runtime and runtime not in RUNTIMES:
        raise RecipeError(
            f"--device {device}: no runtime is named '{runtime}'",
            remedy=f"{did_you_mean(runtime, RUNTIMES)}Valid: {', '.join(RUNTIMES)}.",
        )
    return name


def _clean(device: str) -> None:
    """Take away what a board's cache holds; a device that is this machine has none."""
    from calkd_edge.cli.console import say
    from calkd_edge.devices.inventory import device_at, place_of
    from calkd_edge.devices.ssh import Ssh

    found = device_at(device, place_of(device))
    if isinstance(found, Ssh):
        found.clean()
        say("  {}: what was sent there is removed", device)
    else:
        say("  {}: nothing is kept on this machine", device)
    found.close()
