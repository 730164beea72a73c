"""The devices of a recipe: known names, runtimes and options.

In scope: what can be known without reaching a device. Out of scope: reaching one.
"""

from __future__ import annotations

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import RUNTIMES, check_options, known_options
from calkd_edge.devices.inventory import location_of
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean
from calkd_edge.recipe.schema import DeviceSection, Recipe

PLANNED_OPTIONS = ("threads", "sha256")
"""Options of runtimes that the plan itself sets."""


def check_devices(recipe: Recipe, where: str) -> None:
    """Check every device, and `calibrate.on`.

    Raises:
        RecipeError: an unknown device, runtime or option.
        EnvironmentProblem: a runtime's file cannot be made here because a package is missing.
    """
    for index, device in enumerate(recipe.devices):
        _check_device(device, f"{where}: devices[{index}]")
    names = [device.name for device in recipe.devices]
    if recipe.calibrate.on not in names:
        raise RecipeError(
            f"{where}: calibrate.on: '{recipe.calibrate.on}' is not among the devices ({', '.join(names)})",
            remedy=f"{did_you_mean(recipe.calibrate.on, names)}Name one of the devices.",
        )


def _check_device(device: DeviceSection, where: str) -> None:
    _check_name(device, f"{where}.name")
    if device.runtime not in RUNTIMES:
        raise RecipeError(
            f"{where}.runtime: no runtime is named '{device.runtime}'",
            remedy=f"{did_you_mean(device.runtime, RUNTIMES)}Valid: {', '.join(RUNTIMES)}.",
        )
    if RUNTIMES[device.runtime].is_converted:
        # Imported here: it loads onnx, which other runtimes do not need to be planned.
        from calkd_edge.export.converters import converter_of

        converter_of(device.runtime).check()
    valid = sorted(set(known_options(device.runtime)) - set(PLANNED_OPTIONS))
    for key in device.options:
        if key not in valid:
            raise RecipeError(
                f"{where}.options: {device.runtime} has no option '{key}'",
                remedy=f"{did_you_mean(key, valid)}Valid: {', '.join(valid)}.",
            )
    try:
        check_options(device.runtime, device.options)
    except AgentProblem as wrong:
        raise RecipeError(f"{where}.options: {wrong}", remedy=wrong.remedy) from None


def _check_name(device: DeviceSection, where: str) -> None:
    """Refuse a device that nothing knows; a known kind of board without an address is asked for later."""
    try:
        location_of(device.name)
    except RecipeError as unknown:
        raise RecipeError(f"{where}: {unknown.message}", remedy=unknown.remedy) from unknown
    except DeviceError:
        return
