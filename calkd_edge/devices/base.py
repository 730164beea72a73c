"""Device: holds files, runs a command; knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Bounded(Protocol):
    """A device that fetches no file of more than `most_bytes`; a session sets it before each `get`."""

    most_bytes: int


@runtime_checkable
class OnThisDisk(Protocol):
    """A device whose files lie in this machine's temporary folder."""

    temporary_folder: Path


class Device(Protocol):
    """A machine that the agent can run on.

    A kind of device is a class with these methods, registered in DEVICES. It is made as
    `Kind(name, *, ...)`; its keyword-only parameters are the keys of its entries in the inventory.

    Attributes:
        name: as the recipe names it.
        python: the interpreter that runs the agent there.
    """

    name: str
    python: str

    def put(self, source: Path, target: str) -> None:
        """Copy a file of this machine to `target`, relative to the device's work folder."""

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run a command in the work folder; returns its exit status. `on_line` gets each line it prints.

        Raises:
            DeviceError: the device is unreachable, or the command exceeds `timeout_s` seconds.
        """

    def get(self, source: str, target: Path) -> None:
        """Fetch a file of the device's work folder.

        Raises:
            DeviceError: it does not exist.
        """

    def clean(self) -> bool:
        """Remove every file that any session ever left there; returns whether the device keeps files at all.

        Raises:
            DeviceError: the device is unreachable.
        """

    def close(self) -> None:
        """Remove the work folder."""
