"""The machine we stand on, as a device: the very agent that a board would run, in a fresh process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from calkd_edge.errors import DeviceError

_SENT_BY_US = ("PYTHONPATH", "OMP_NUM_THREADS")
"""Variables of this process that must not reach the agent: it runs as it would on a board."""


class Local:
    """The host in a temporary folder of its own."""

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self.python = sys.executable
        self._folder = Path(tempfile.mkdtemp(prefix="calkd-local-"))
        self.output = ""

    def put(self, source: Path, target: str) -> None:
        """Link the file where the file system allows it, else copy it."""
        place = self._folder / target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(source, place)
        except OSError:
            shutil.copyfile(source, place)

    def run(self, argv: Sequence[str], *, timeout_s: float, heard: Callable[[str], None]) -> int:
        """Run a command in the temporary folder; what it prints is kept in `output` and told line by line.

        Raises:
            DeviceError: it cannot start, or is not done after `timeout_s` seconds.
        """
        environment = {key: value for key, value in os.environ.items() if key not in _SENT_BY_US}
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as refused:
            raise DeviceError(
                f"{self.name}: {argv[0]} cannot be started: {refused}", remedy="Check that interpreter."
            ) from refused
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        alarm = threading.Timer(timeout_s, end)
        alarm.start()
        lines = []
        try:
            with process:
                for line in process.stdout or ():
                    lines.append(line.decode("utf-8", "replace"))
                    heard(lines[-1])
        except BaseException:
            process.kill()
            raise
        finally:
            alarm.cancel()
            self.output = "".join(lines)
        if late.is_set():
            raise DeviceError(
                f"{self.name}: the agent was not done after {timeout_s:.0f} s",
                remedy="Lower evaluate.images or benchmark.min_runs, or stop what else loads the machine.",
            )
        return process.returncode

    def get(self, source: str, target: Path) -> None:
        """Copy a file of the temporary folder to `target`.

        Raises:
            DeviceError: it is not there.
        """
        try:
            shutil.copyfile(self._folder / source, target)
        except OSError as missing:
            raise DeviceError(
                f"{self.name}: the agent left no {source}: {self.output[-2000:].strip() or missing}",
                remedy="See the log for what it printed.",
            ) from missing

    def close(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
