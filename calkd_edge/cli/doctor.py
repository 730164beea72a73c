"""calkd-edge doctor: what a device is, what runs on it, what it lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from calkd_edge.cli.console import print_result
from calkd_edge.cli.options import JsonOption


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
    from calkd_edge.devices.targets import without_runtime

    if clean:
        _clean(without_runtime(device), as_json)
        return
    from calkd_edge.cli.doctor_screen import show
    from calkd_edge.devices.doctor.diagnosis import check_usable
    from calkd_edge.devices.doctor.diagnosis import doctor as examine

    report = examine(device)
    if as_json:
        print_result(report.model_dump_json(indent=1))
    else:
        show(report)
    check_usable(report)


def _clean(name: str, as_json: bool) -> None:
    """Remove the files of all sessions from a device."""
    import json

    from calkd_edge.cli.console import say
    from calkd_edge.devices.inventory import device_at, location_of

    device = device_at(name, location_of(name))
    try:
        keeps_files = device.clean()
    finally:
        device.close()
    if as_json:
        print_result(json.dumps({"device": name, "removed": keeps_files}))
    elif keeps_files:
        say("  {}: what was sent there is removed", name)
    else:
        say("  {}: nothing is kept on this machine", name)
