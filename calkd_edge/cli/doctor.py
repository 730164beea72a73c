"""calkd-edge doctor: what a device is, what will run on it, what it lacks."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    device: Annotated[str, typer.Option("--device", help="Where to look.")] = "local",
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove all that was ever sent there, then stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Look at a device: what it is, which precisions will run on which runtime, what is missing.

    Exit 2 where no device has that name, 5 where it does not answer, 6 where nothing there can run a model.
    """
    from calkd_edge.devices.targets import without_runtime

    if clean:
        _clean(without_runtime(device))
        return
    from calkd_edge.cli.doctor_screen import show
    from calkd_edge.devices.doctor.diagnosis import check_usable
    from calkd_edge.devices.doctor.diagnosis import doctor as examined

    report = examined(device)
    if as_json:
        print(report.model_dump_json(indent=1))
    else:
        show(report)
    check_usable(report)


def _clean(name: str) -> None:
    """Remove the files of all sessions from a device."""
    from calkd_edge.cli.console import say
    from calkd_edge.devices.inventory import device_at, location_of

    device = device_at(name, location_of(name))
    if device.clean():
        say("  {}: what was sent there is removed", name)
    else:
        say("  {}: nothing is kept on this machine", name)
    device.close()
