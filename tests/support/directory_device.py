"""A kind of device of a plugin: a folder that plays a board, with nothing of the package's own devices."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from calkd_edge.errors import DeviceError


class DirectoryDevice:
    """A folder that plays a board: a session folder inside it, and a cache that outlives sessions.

    Args:
        name: as the recipe names it.
        folder: of the board.
        python: its interpreter.
    """

    def __init__(self, name: str, *, folder: Path, python: str = sys.executable) -> None:
        self.name, self.python, self.folder = name, python, Path(folder)
        self.session = self.folder / uuid.uuid4().hex

    def put(self, source: Path, target: str) -> None:
        """Copy a file, and keep a copy in the cache."""
        for path in (self.session / target, self.folder / "cache" / target):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run a command in the session's folder."""
        done = subprocess.run(
            list(argv), cwd=self.session, capture_output=True, text=True, timeout=timeout_s, env={}
        )
        for line in (done.stdout + done.stderr).splitlines():
            on_line(line)
        return done.returncode

    def get(self, source: str, target: Path) -> None:
        """Copy a file back."""
        try:
            shutil.copyfile(self.session / source, target)
        except FileNotFoundError as missing:
            raise DeviceError(f"{self.name}: there is no {source}", remedy="See the log.") from missing

    def clean(self) -> bool:
        """Remove the cache."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        return True

    def close(self) -> None:
        """Remove the session's folder."""
        shutil.rmtree(self.session, ignore_errors=True)
