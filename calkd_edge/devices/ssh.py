"""A board reached by ssh: files go into a cache named by their content, each session works in its own folder.

On the board, under ~/.cache/calkd-edge (or where its XDG_CACHE_HOME says):
    files/SHA256    what was sent, once for all sessions; a transfer that was cut goes on where it stopped
    sessions/ID     one session's folder, removed when it closes
Nothing else is written there, nothing is installed, nothing needs root. A board may lose its power: a file is
on its disk before it gets its name, and each run looks once at the content of what it takes from the cache. A
shell there may greet whoever comes: what a command is asked for is the last that it prints.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from calkd_edge.devices.connection import PIECE, Address, Connection
from calkd_edge.errors import CalkdError, DeviceError
from calkd_edge.files import sha256_of

UNUSED_DAYS, STALE_MINUTES = 30, 24 * 60
"""Files that no session asked for, and folders of sessions that ended without a word, are removed then."""

SMALL_BYTES = 8192
"""Files up to here are not worth a place in the cache."""

SLOWEST_BYTES_PER_S = 50_000
ROOT = '"${XDG_CACHE_HOME:-$HOME/.cache}/calkd-edge"'


class Ssh:
    """A board behind ssh.

    Args:
        name: as the recipe names it.
        place: its address.
        python: the interpreter that runs the agent there; a path, or a name in its PATH.
        keep: whether what was sent stays in the board's cache when the session closes.
    """

    def __init__(self, name: str, place: Address, *, python: str = "python3", keep: bool = True) -> None:
        self.name, self.python, self.keep = name, python, keep
        self._connection, self._verified = connection_to(name, place), _VERIFIED.setdefault(place, set())
        self._session = secrets.token_hex(8)
        self._begun = False
        self.output = ""

    def put(self, source: Path, target: str) -> None:
        """Bring a file into the session's folder; what the board's cache has whole is not sent again.

        Raises:
            DeviceError: the board cannot be reached, its disk is full, or the file arrives changed.
        """
        self._begin()
        size = source.stat().st_size
        if size <= SMALL_BYTES:
            self._send_small(source, target)
            return
        name = sha256_of(source)
        if not self._linked(name, target, size):
            self._send(source, size, name)
            if not self._linked(name, target, size):
                raise DeviceError(
                    f"{self.name}: {target} was sent and is not there",
                    remedy="Another process may have cleaned the cache: run again.",
                )

    def run(self, argv: Sequence[str], *, timeout_s: float, heard: Callable[[str], None]) -> int:
        """Run a command in the session's folder; what it prints is kept in `output` and told line by line.

        Raises:
            DeviceError: the connection broke, or it was not done after `timeout_s` seconds; it is then ended.
        """
        self._begin()
        lines: list[str] = []

        def listen(line: bytes) -> None:
            lines.append(line.decode("utf-8", "replace"))
            heard(lines[-1])

        command = " ".join(shlex.quote(part) for part in argv)
        try:
            status, _ = self._connection.run(
                # Not exec: a command that a signal ends would look like a connection that broke.
                f"cd {self._work} && {{ {command} < /dev/null & echo $! > pid; wait $!; }}",
                timeout_s=timeout_s,
                heard=listen,
            )
        except BaseException:
            self._end_what_runs()
            raise
        finally:
            self.output = "".join(lines)
        return status

    def get(self, source: str, target: Path) -> None:
        """Fetch a file of the session's folder; `target` is there whole, or not at all.

        Raises:
            DeviceError: it is not there, arrives changed, or its size is not understood.
        """
        self._begin()
        path = f"{self._work}/{shlex.quote(source)}"
        status, listed = self._connection.run(f"echo; sha256sum < {path} && wc -c < {path}")
        if status != 0:
            said = self.output[-2000:].strip() or _text(listed)
            remedy = self._free_space() if "No space left" in said else "See the log for what it printed."
            raise DeviceError(f"{self.name}: the agent left no {source}: {said}", remedy=remedy)
        name, counted = self._last(rb"([0-9a-f]{64})\s+-?\s+([0-9]+)", listed)
        size = int(counted)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with partial.open("wb") as handle:
                status, _ = self._connection.run(f"cat {path}", timeout_s=_patience(size), receive=handle)
            _keep_last(partial, size)
            if status != 0 or sha256_of(partial) != name:
                raise DeviceError(
                    f"{self.name}: {source} arrived changed", remedy="Run again; else look at the connection."
                )
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the session's folder there, and its cache where it is not to be kept."""
        if not self._begun:
            return
        self._begun = False
        with contextlib.suppress(CalkdError):  # a board that is gone cannot be tidied
            self._connection.run(f"rm -rf {self._work}")
            if not self.keep:
                self.clean()

    def clean(self) -> None:
        """Remove everything that was ever put there.

        Raises:
            DeviceError: the board cannot be reached.
        """
        self._connection.run(f"rm -rf {ROOT}")

    @property
    def _work(self) -> str:
        return f"{ROOT}/sessions/{self._session}"

    def _begin(self) -> None:
        """Make the session's folder, and take away what is old."""
        if self._begun:
            return
        script = (
            f"umask 077; mkdir -p {ROOT}/files {self._work} && "
            f"find {ROOT}/files -mindepth 1 -mtime +{UNUSED_DAYS} -exec rm -f {{}} + && "
            f"find {ROOT}/sessions -mindepth 1 -maxdepth 1 -mmin +{STALE_MINUTES} -exec rm -rf {{}} +"
        )
        status, said = self._connection.run(script)
        if status != 0:
            raise DeviceError(
                f"{self.name}: its cache folder cannot be made: {_text(said)}",
                remedy="Free space there, or see that ~/.cache belongs to you.",
            )
        self._begun = True

    def _linked(self, name: str, target: str, size: int) -> bool:
        """Whether the cache has a file, which is then in the session's folder too.

        One whose content is not what its name says is removed. A run looks at a file's content once.
        """
        stored, place = f"{ROOT}/files/{name}", f"{self._work}/{shlex.quote(target)}"
        whole = f"{{ {_is(stored, name)} || {{ rm -f {stored}; false; }}; }} && "
        status, _ = self._connection.run(
            f"[ -f {stored} ] && {'' if name in self._verified else whole}"
            f"touch {stored} && (ln -f {stored} {place} || cp {stored} {place})",
            timeout_s=_patience(size),
        )
        if status == 0:
            self._verified.add(name)
        return status == 0

    def _send(self, source: Path, size: int, name: str) -> None:
        """Send what the board lacks of a file, and name it by its content once all of it is there."""
        part = f"{ROOT}/files/{name}.part"
        count = f"echo; if [ -f {part} ]; then wc -c < {part}; else echo 0; fi"
        status, counted = self._connection.run(count)
        there = int(self._last(rb"([0-9]+)", counted)[0]) if status == 0 else 0
        if there >= size:
            there = 0
            self._connection.run(f"rm -f {part}")
        with source.open("rb") as handle:
            handle.seek(there)
            status, said = self._connection.run(
                # Without sync a name may outlive its content; an old one knows no files and writes out all.
                f"cat >> {part} && {_is(part, name)} && {{ sync {part} || sync; }} "
                f"&& mv -f {part} {ROOT}/files/{name}",
                timeout_s=_patience(size - there),
                send=handle,
            )
        if status == 0:
            self._verified.add(name)
            return
        self._connection.run(f"rm -f {part}")
        if b"No space left" in said or b"quota" in said:
            raise DeviceError(
                f"{self.name}: its disk is full: {size / 1e6:.1f} MB of {source.name} do not fit",
                remedy=self._free_space(),
            )
        if there:
            self._send(source, size, name)
            return
        raise DeviceError(
            f"{self.name}: {source.name} did not arrive whole: {_text(said) or 'its content differs'}",
            remedy="Run again; if it stays so, look at the connection and the disk there.",
        )

    def _send_small(self, source: Path, target: str) -> None:
        """Write a file straight into the session's folder: a job is asked for once."""
        place = f"{self._work}/{shlex.quote(target)}"
        with source.open("rb") as handle:
            status, said = self._connection.run(f"rm -f {place} && cat > {place}", send=handle)
        if status != 0:
            full = b"No space left" in said
            raise DeviceError(
                f"{self.name}: {target} cannot be written there: {_text(said)}",
                remedy=self._free_space() if full else "See that ~/.cache there belongs to you.",
            )

    def _last(self, wanted: bytes, printed: bytes) -> list[str]:
        """The groups of what a command printed last, on lines of its own behind what its shell greeted with.

        Raises:
            DeviceError: it is not there.
        """
        found = re.search(rb"^\s*" + wanted + rb"\s*\Z", printed, re.M)
        if found is None:
            raise DeviceError(
                f"{self.name}: what its shell prints is not understood: {_text(printed)!r}",
                remedy="Let ~/.bashrc, ~/.profile and the like there print nothing where nobody types.",
            )
        return [group.decode() for group in found.groups()]

    def _free_space(self) -> str:
        return (
            "Free space there, or remove what was sent before: "
            f"calkd-edge doctor --device {self.name} --clean"
        )

    def _end_what_runs(self) -> None:
        """End a command that is not waited for any more."""
        with contextlib.suppress(CalkdError):
            self._connection.run(f"kill $(cat {self._work}/pid) 2>/dev/null; true", timeout_s=15)


_OPEN: dict[Address, Connection] = {}
_VERIFIED: dict[Address, set[str]] = {}
"""By address, files whose content this process has looked at; as long as its connection is open."""


def connection_to(name: str, place: Address) -> Connection:
    """The one connection of this process to a place."""
    if place not in _OPEN:
        _OPEN[place] = Connection(name, place)
    return _OPEN[place]


def disconnect() -> None:
    """Close all connections of this process; the end of the process does so too."""
    _VERIFIED.clear()
    while _OPEN:
        _OPEN.popitem()[1].close()


def _is(path: str, name: str) -> str:
    """A shell's question whether a file there has the content that a name says."""
    return f'[ "$(sha256sum < {path} | cut -c1-64)" = {name} ]'


def _keep_last(path: Path, size: int) -> None:
    """Take away what a shell printed before a file: all but its last `size` bytes."""
    extra = path.stat().st_size - size
    if extra <= 0:
        return
    with path.open("r+b") as whole:
        for place in range(0, size, PIECE):
            whole.seek(place + extra)
            piece = whole.read(PIECE)
            whole.seek(place)
            whole.write(piece)
        whole.truncate(size)


def _patience(size: int) -> float:
    """Seconds that a transfer may take."""
    return 60.0 + size / SLOWEST_BYTES_PER_S


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip()[-500:]
