"""This machine as a device: the same agent as on a board, in a fresh process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from calkd_edge.agent import WATCH_INPUT
from calkd_edge.devices.agent_lines import Printed, lines_of
from calkd_edge.devices.replies import MOST_FILE_BYTES, refused
from calkd_edge.errors import DeviceError
from calkd_edge.files.full_disk import full_disk, temporary_place
from calkd_edge.files.scratch import ScratchFolder

_REMOVED = ("PYTHONPATH", "OMP_NUM_THREADS")
"""Variables of this process that must not reach the agent: it runs as it does on a board."""


class Local:
    """This machine, in a temporary folder.

    Args:
        name: as the recipe names it.
        python: the interpreter that runs the agent; by default the running one.
    """

    def __init__(self, name: str = "local", *, python: str | None = None) -> None:
        self.name = name
        self.python = python or sys.executable
        self._scratch = ScratchFolder("local")
        self.temporary_folder = self._scratch.path
        self.most_bytes = MOST_FILE_BYTES
        self.output = ""

    def put(self, source: Path, target: str) -> None:
        """Link the file where the file system allows it, else copy it."""
        path = self.temporary_folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run a command in the temporary folder; `output` keeps what it prints, `on_line` gets each line.

        Raises:
            DeviceError: it cannot start, or exceeds `timeout_s` seconds.
        """
        environment = {key: value for key, value in os.environ.items() if key not in _REMOVED}
        environment[WATCH_INPUT] = "1"  # the agent ends with this process, however this one ends
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=self.temporary_folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as refused:
            raise DeviceError(
                f"{self.name}: {argv[0]} cannot be started: {refused}", remedy="Check that interpreter."
            ) from refused
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            process.kill()

        alarm = threading.Timer(timeout_s, stop)
        alarm.start()
        printed = Printed()
        try:
            with process:
                for line in lines_of(process.stdout):
                    on_line(printed.add(line))
        except BaseException:
            process.kill()
            raise
        finally:
            alarm.cancel()
            self.output = printed.text
        if timed_out.is_set():
            raise DeviceError(
                f"{self.name}: the agent was not done after {timeout_s:.0f} s",
                remedy="Lower evaluate.images or benchmark.min_runs, or stop other work on the machine.",
            )
        return process.returncode

    def get(self, source: str, target: Path) -> None:
        """Copy a file of the temporary folder to `target`.

        Raises:
            DeviceError: it does not exist, or is larger than `most_bytes`.
        """
        try:
            if (self.temporary_folder / source).stat().st_size > self.most_bytes:
                raise refused(self.name, f"{source} has more than {self.most_bytes} bytes")
            shutil.copyfile(self.temporary_folder / source, target)
        except OSError as missing:
            refusal = DeviceError(
                f"{self.name}: the agent left no {source}: {self.output[-2000:].strip() or missing}",
                remedy="That is what its agent printed last: correct it there, and run again.",
            )
            raise full_disk(refusal, [temporary_place()], f"{self.name}: ") or refusal from missing

    def clean(self) -> bool:
        """Nothing to remove: no file outlives its session."""
        return False

    def close(self) -> None:
        """Remove the temporary folder."""
        self._scratch.close()
