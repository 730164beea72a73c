"""How an agent ended that left no reply: no Python, an old one, or a signal of the system."""

from __future__ import annotations

import signal

from calkd_edge.devices.agent_zip import TOO_OLD
from calkd_edge.errors import DeviceError


def check_start(name: str, python: str, status: int, last_line: str) -> None:
    """Refuse an agent that did not start, or that the system ended: it leaves no reply.

    Args:
        name: of the device.
        python: that was asked to run the agent.
        status: its exit status; negative, or 128 more, where a signal ended it.
        last_line: of what it printed.

    Raises:
        DeviceError: naming the cause.
    """
    another = f"Install Python 3.8 or later there, or name one: python: PATH of '{name}' in the inventory"
    if status == TOO_OLD:
        version = last_line.rpartition("Python ")[2]
        raise DeviceError(f"{name}: Python {version} ({python}) is too old: 3.8 is needed", remedy=another)
    if status in (126, 127):
        raise DeviceError(f"{name}: there is no Python '{python}': {last_line}", remedy=another)
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise DeviceError(
            f"{name}: the system killed the agent, as it does when memory runs out",
            remedy="Free memory there (doctor shows it), or request less: evaluate.images.",
        )
    if status in (-signal.SIGILL, 128 + signal.SIGILL):
        raise DeviceError(
            f"{name}: a package there uses instructions that its processor lacks (SIGILL)",
            remedy="Install builds for this processor; numpy wheels from 2.0 on need newer ones.",
        )
