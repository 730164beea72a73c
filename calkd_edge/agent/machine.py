"""The system files and commands of a machine: of this one, or of a folder that stands for one in a test."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
from typing import Sequence

COMMAND_FOLDERS = ("/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin")
FOLDERS = ("/usr/lib/*", "/usr/lib/*/*", "/usr/local/cuda*/lib*", "/usr/local/cuda*/targets/*/lib")
"""Where packages put libraries."""

MAX_BYTES = 1 << 20


class Machine:
    """A tree of system files, and the commands in it; reading never raises.

    Args:
        root: the folder that stands for "/".
        architecture: the answer of `uname -m`; by default that of this machine.
    """

    def __init__(self, root: str = "/", architecture: str | None = None) -> None:
        self.root = root.rstrip("/")
        self.architecture = architecture or platform.machine()

    def real_path(self, name: str) -> str:
        """The path on this machine of the file that the tree calls `name`."""
        return self.root + name

    def read(self, name: str) -> str:
        """A file's text, at most a mebibyte of it, or the empty string when it cannot be read now."""
        try:
            with open(self.real_path(name), "rb") as handle:
                # None where the driver says "try again": the sensor of a unit that is off, on an Orin.
                return (handle.read(MAX_BYTES) or b"").decode("utf-8", "replace")
        except OSError:
            return ""

    def size(self, name: str) -> int:
        """Bytes of a file, behind links; 0 when it cannot be inspected."""
        try:
            return os.path.getsize(self.real_path(name))
        except OSError:
            return 0

    def line(self, name: str) -> str:
        """A file's text without spaces, line ends and zero bytes around it."""
        return self.read(name).strip("\0 \t\r\n")

    def number(self, name: str) -> int | None:
        """The whole number that a file holds, or None."""
        return number_in(self.line(name))

    def find(self, *patterns: str) -> list[str]:
        """Names that match any of the patterns, in natural order: cpu10 comes after cpu9."""
        paths = {path for pattern in patterns for path in glob.glob(glob.escape(self.root) + pattern)}
        return sorted((path[len(self.root) :] for path in paths), key=_natural_order)

    def command_folders(self) -> list[str]:
        """Folders with commands, as real paths: those of the PATH first, unless a folder is the machine."""
        listed = os.environ.get("PATH", "").split(":") if not self.root else []
        return [folder for folder in listed if folder] + [self.real_path(name) for name in COMMAND_FOLDERS]

    def which(self, command: str) -> str | None:
        """The real path of a command, or None."""
        return shutil.which(command, path=":".join(self.command_folders()))

    def run(self, command: str, *arguments: str, timeout_s: float = 10) -> str:
        """The output of a command; the empty string when it is missing or exceeds the time limit."""
        path = self.which(command)
        return output_of([path, *arguments], timeout_s) if path else ""


def output_of(argv: Sequence[str], timeout_s: float) -> str:
    """Standard output of a command, whatever its exit status; empty when it cannot start or takes longer."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def number_in(text: str) -> int | None:
    """The whole number that `text` is, of at most 18 digits, or None."""
    return int(text) if re.match(r"-?[0-9]{1,18}\Z", text) else None


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
