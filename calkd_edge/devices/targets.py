"""The text NAME[:RUNTIME] that names a device, and whether the device has that runtime.

In scope: the text and the facts of one device. Out of scope: recipes, reaching the device.
"""

from __future__ import annotations

import re

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean
from calkd_edge.records import DeviceFacts

IPV6 = re.compile(r"[^@]*@[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(%\w+)?")
"""USER@ADDRESS with an IPv6 address, which may name a zone, without brackets."""


def check_runtime(name: str, runtime: str, facts: DeviceFacts) -> None:
    """Check that the Python that runs the agent can import the runtime.

    Raises:
        DeviceError: it cannot; the remedy says how to install it.
    """
    if runtime in facts.runtimes:
        return
    package = RUNTIMES[runtime].distributions[0] if runtime in RUNTIMES else runtime
    remedy = f"Install it there: python3 -m pip install {package}"
    if runtime == "tensorrt" and facts.l4t is not None:
        remedy = (
            "On a Jetson it comes with JetPack, for the system's Python: sudo apt install "
            "python3-libnvinfer, and python: /usr/bin/python3 in the inventory"
        )
    raise DeviceError(
        f"{name}: its Python {facts.python} cannot import {runtime}",
        remedy=f"{remedy}. calkd-edge doctor --device {name} lists its Pythons and their packages.",
    )


def split_runtime(text: str) -> tuple[str, str]:
    """NAME and RUNTIME of NAME[:RUNTIME]; RUNTIME is empty where none is named.

    A port is no runtime, and a name without a colon is a device's, whatever runtime has that name too.
    """
    name, colon, runtime = text.rpartition(":")
    if colon and runtime in RUNTIMES:
        return name, runtime
    in_address = "]" in runtime or IPV6.fullmatch(text)
    has_runtime = colon and "/" not in runtime and not runtime.isdigit() and not in_address
    return (name, runtime) if has_runtime else (text, "")


def without_runtime(text: str) -> str:
    """NAME of NAME[:RUNTIME].

    Raises:
        RecipeError: no runtime has that name.
    """
    name, runtime = split_runtime(text)
    if runtime and runtime not in RUNTIMES:
        raise RecipeError(
            f"--device {text}: no runtime is named '{runtime}'",
            remedy=f"{did_you_mean(runtime, RUNTIMES)}Valid: {', '.join(RUNTIMES)}.",
        )
    return name
