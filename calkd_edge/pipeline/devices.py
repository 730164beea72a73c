"""The devices of a run: their names, their locations, and the facts that they report beforehand.

In scope: names, locations, probes. Out of scope: what runs there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import AS_IS, RUNTIMES, check_threads
from calkd_edge.devices.inventory import location_of, runtime_of
from calkd_edge.devices.session import Session, open_session
from calkd_edge.devices.targets import check_runtime, split_runtime
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.files.scratch import ScratchFolder
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
    """The facts of every device of a recipe, read before anything trains; its options are tried there.

    Raises:
        DeviceError: one does not answer, or lacks the runtime or an option that the recipe asks for.
        RecipeError: it has too few cores for the recipe's threads.
    """
    facts = {}
    for name in dict.fromkeys(device.name for device in recipe.devices if device.name not in skipped):
        here = [device for device in recipe.devices if device.name == name]
        with open_session(name, locations[name]) as session:
            facts[name] = session.probe([device.runtime for device in here])
            for device in here:
                check_runtime(name, device.runtime, facts[name])
                try:
                    check_threads(device.runtime, recipe.benchmark.threads, facts[name].cores)
                except AgentProblem as wrong:
                    raise RecipeError(f"{name}: benchmark.threads: {wrong}", remedy=wrong.remedy) from None
                if device.options and RUNTIMES[device.runtime].kind == AS_IS:
                    _try_options(device, session, recipe.benchmark.threads)
    return facts


def _try_options(device: DeviceSection, session: Session, threads: int) -> None:
    """Run the smallest file with a device's options: what its runtime or processor lacks is told now.

    Raises:
        DeviceError: the runtime there does not take them.
    """
    # Imported here: it loads onnx, which devices without options do not need to be planned.
    import onnx

    from calkd_edge.onnx_model.smallest import SHAPE, smallest_classifier

    with ScratchFolder("options") as folder:
        model, images = folder / "smallest.onnx", folder / "images.npy"
        onnx.save(smallest_classifier(), model)
        np.save(images, np.zeros((1, *SHAPE), np.uint8))
        options = {**device.options, "threads": threads}
        session.predict(model, images, runtime=device.runtime, options=options)


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
