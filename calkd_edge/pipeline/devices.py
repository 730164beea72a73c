"""The devices of a run: which they are, where they are, and what they say of themselves beforehand.

In scope: names, places, probes. Out of scope: what is done there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calkd_edge.devices.inventory import location_of, runtime_of
from calkd_edge.devices.session import open_session
from calkd_edge.devices.targets import check_runtime, split_runtime
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.recipe.schema import DeviceSection, Recipe
from calkd_edge.records import DeviceFacts


def located(recipe: Recipe, skipped: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Where every device of a recipe is, by name; asks none of them.

    Raises:
        RecipeError: a name that nothing knows.
        DeviceError: a kind of board of which nobody says where one is.
    """
    wanted: dict[str, list[str]] = {}
    for device in recipe.devices:
        wanted.setdefault(device.name, []).append(device.runtime)
    return {
        device.name: location_of(device.name, device.own_place, runtimes=wanted[device.name])
        for device in recipe.devices
        if device.name not in skipped
    }


def probe(
    recipe: Recipe, places: Mapping[str, Mapping[str, Any]], skipped: Sequence[str] = ()
) -> dict[str, DeviceFacts]:
    """What every device of a recipe is, asked before anything trains.

    Raises:
        DeviceError: one does not answer, or lacks the runtime the recipe asks for.
    """
    found = {}
    for name in dict.fromkeys(device.name for device in recipe.devices if device.name not in skipped):
        with open_session(name, places[name]) as session:
            found[name] = session.probe()
    for device in recipe.devices:
        if device.name in found:
            check_runtime(device.name, device.runtime, found[device.name])
    return found


def check_skipped(recipe: Recipe, skipped: Sequence[str]) -> None:
    """Refuse to skip a device that is not there, or the one the calibration is fitted on.

    Raises:
        RecipeError: with the devices that may be skipped.
    """
    names = list(dict.fromkeys(device.name for device in recipe.devices))
    for name in skipped:
        if name not in names:
            raise RecipeError(
                f"--skip-device {name}: the recipe has no such device",
                remedy=f"{did_you_mean(name, names)}Devices: {', '.join(names)}.",
            )
        if name == recipe.calibrate.on:
            raise RecipeError(
                f"--skip-device {name}: the calibration is fitted on what it answers (calibrate.on)",
                remedy="Name another device there: --set calibrate.on=NAME.",
            )


def with_devices(recipe: Recipe, named: Sequence[str]) -> Recipe:
    """The recipe with further devices, each NAME or NAME:RUNTIME, that it does not list already.

    A name may be [ssh://]USER@HOST[:PORT]; the runtime left out is the one of the device's kind.
    """
    added: list[DeviceSection] = []
    for text in named:
        name, runtime = split_runtime(text)
        device = DeviceSection(name=name, runtime=runtime or runtime_of(name))
        if device not in (*recipe.devices, *added):
            added.append(device)
    return recipe.model_copy(update={"devices": (*recipe.devices, *added)})
