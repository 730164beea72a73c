"""What a user names as a device, NAME[:RUNTIME], and whether the device has that runtime.

In scope: the text and the facts of one device. Out of scope: recipes, reaching the device.
"""

from __future__ import annotations

from calkd_edge.agent import packages
from calkd_edge.errors import DeviceError
from calkd_edge.records import DeviceFacts


def check_runtime(name: str, runtime: str, facts: DeviceFacts) -> None:
    """See that the Python that runs the agent has what runs models.

    Raises:
        DeviceError: it has not; with how it comes there.
    """
    if runtime in facts.runtimes:
        return
    remedy = f"Install it there: python3 -m pip install {packages.RUNTIMES.get(runtime, (runtime,))[0]}"
    if runtime == "tensorrt" and facts.l4t is not None:
        remedy = (
            "On a Jetson it comes with JetPack, for the system's Python: sudo apt install "
            "python3-libnvinfer, and python: /usr/bin/python3 in the inventory"
        )
    raise DeviceError(
        f"{name}: its Python {facts.python} cannot import {runtime}",
        remedy=f"{remedy}. calkd-edge doctor --device {name} shows which of its Pythons has what.",
    )


def split_runtime(text: str) -> tuple[str, str]:
    """NAME and RUNTIME of NAME[:RUNTIME]; the runtime is empty where none is said. A port is none."""
    name, colon, runtime = text.rpartition(":")
    is_one = colon and "/" not in runtime and not runtime.isdigit()
    return (name, runtime) if is_one else (text, "")
