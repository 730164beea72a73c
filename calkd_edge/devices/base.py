"""Device: holds files, runs a command; knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class Device(Protocol):
    """A machine that the agent can run on.

    Attributes:
        name: as the recipe names it.
        python: the interpreter that runs the agent there.
    """

    name: str
    python: str

    def put(self, source: Path, target: str) -> None:
        """Copy a file of ours to `target`, relative to the device's work folder."""

    def run(self, argv: Sequence[str], *, timeout_s: float, heard: Callable[[str], None]) -> int:
        """Run a command in the work folder; returns its exit status. `heard` gets each line it prints.

        Raises:
            DeviceError: unreachable, or not done after `timeout_s` seconds.
        """

    def get(self, source: str, target: Path) -> None:
        """Fetch a file of the device's work folder.

        Raises:
            DeviceError: it is not there.
        """

    def close(self) -> None:
        """Remove what was put there."""
