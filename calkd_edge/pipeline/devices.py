"""The devices of a run: their names, their locations, and the facts that they report beforehand.

In scope: names, locations, probes. Out of scope: what runs there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calkd_edge.devices.inventory import location_of, runtime_of
from calkd_edge.devices.session import open_session
from calkd_edge.devices.targets import check_runtime, split_runtime
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.recipe.schema import DeviceSection, Recipe
from calkd_edge.records import DeviceFacts, Json


def located(recipe: Recipe, skipped: Sequence[str] = ()) -> dict[str, dict[str, Json]]:
    """The location of every device of a recipe, by name; contacts none of them.

    Raises:
        RecipeError: an unknown name.
        DeviceError: a kind of board whose address is not known.
    """
    runtimes: dict[str, list[str]] = {}
    for device in recipe.devices:
        runtimes.setdefault(device.name, []).append(device.runtime)
    return {
        device.name: location_of(device.name, runtimes=runtimes[device.name])
        for device in recipe.devices
        if device.name not in skipped
    }


def probe(
    recipe: Recipe, locations: Mapping[str, Mapping[str, Json]], skipped: Sequence[str] = ()
) -> dict[str, DeviceFacts]:
    """The facts of every device of a recipe, read before anything trains.

    Raises:
        DeviceError: one does not answer, or lacks the runtime the recipe asks for.
    """
    facts = {}
    for name in dict.fromkeys(device.name for device in recipe.devices if device.name not in skipped):
        runtimes = [device.runtime for device in recipe.devices if device.name == name]
        with open_session(name, locations[name]) as session:
            facts[name] = session.probe(runtimes)
    for device in recipe.devices:
        if device.name in facts:
            check_runtime(device.name, device.runtime, facts[device.name])
    return facts


def check_skipped(recipe: Recipe, skipped: Sequence[str]) -> None:
    """Refuse to skip a device that the recipe does not have, or the one that the calibration is fitted on.

    Raises:
        RecipeError: names the devices that may be skipped.
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
                f"--skip-device {name}: the calibration is fitted on its predictions (calibrate.on)",
                remedy="Name another device there: --set calibrate.on=NAME.",
            )


def with_devices(recipe: Recipe, named: Sequence[str]) -> Recipe:
    """The recipe with further devices, each NAME or NAME:RUNTIME, that it does not list already.

    A name may be [ssh://]USER@HOST[:PORT]; the runtime left out is the one of the device's kind.
    """
    added: list[DeviceSection] = []
    for device in map(device_section, named):
        if device not in (*recipe.devices, *added):
            added.append(device)
    return recipe.model_copy(update={"devices": (*recipe.devices, *added)})


def device_section(text: str) -> DeviceSection:
    """The device that NAME or NAME:RUNTIME names; its `label` is NAME:RUNTIME."""
    name, runtime = split_runtime(text)
    return DeviceSection(name=name, runtime=runtime or runtime_of(name))
