"""Where system files lie and commands are found: "/" on a machine, a folder that plays one in a test."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
from typing import Sequence

COMMANDS = ("/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin")
LARGEST = 1 << 20


class Place:
    """A tree of system files; reading never raises.

    Args:
        root: the folder that stands for "/".
        machine: what `uname -m` says there; of this machine where it is not given.
    """

    def __init__(self, root: str = "/", machine: str | None = None) -> None:
        self.root = root.rstrip("/")
        self.machine = machine or platform.machine()

    def real(self, name: str) -> str:
        """Where the file that is called `name` there really lies."""
        return self.root + name

    def read(self, name: str) -> str:
        """A file's text, at most a mebibyte of it, or the empty string when it cannot be read."""
        try:
            with open(self.real(name), "rb") as handle:
                return handle.read(LARGEST).decode("utf-8", "replace")
        except OSError:
            return ""

    def line(self, name: str) -> str:
        """A file's text without spaces, line ends and zero bytes around it."""
        return self.read(name).strip("\0 \t\r\n")

    def number(self, name: str) -> int | None:
        """A file's one whole number, or None."""
        return number_in(self.line(name))

    def find(self, *patterns: str) -> list[str]:
        """Names that match any of the patterns, cpu10 behind cpu9."""
        found = {path for pattern in patterns for path in glob.glob(glob.escape(self.root) + pattern)}
        return sorted((path[len(self.root) :] for path in found), key=_in_order)

    def folders(self) -> list[str]:
        """Where commands lie, as real paths: those of the PATH first, where this is the machine itself."""
        own = os.environ.get("PATH", "").split(":") if not self.root else []
        return [folder for folder in own if folder] + [self.real(folder) for folder in COMMANDS]

    def which(self, command: str) -> str | None:
        """The real path of a command, or None."""
        return shutil.which(command, path=":".join(self.folders()))

    def run(self, command: str, *arguments: str, timeout_s: float = 10) -> str:
        """What a command prints, or the empty string where there is none or it is not done in time."""
        found = self.which(command)
        return output_of([found, *arguments], timeout_s) if found else ""


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


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
