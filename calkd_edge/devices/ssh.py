"""A board behind ssh: a cache holds files by their content, and each session works in its folder.

On the board, under ~/.cache/calkd-edge (or where its XDG_CACHE_HOME says):
    files/SHA256    files, sent once for all sessions; an interrupted transfer continues where it stopped
    sessions/ID     one session's folder, removed when it closes
Nothing else is written there, nothing is installed, nothing needs root. A board may lose its power: a file is
on its disk before it gets its name, and each run checks once the content of the cached files that it uses. A
shell there may print a greeting: the result of a command is the last thing that it prints.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from calkd_edge.devices import shell
from calkd_edge.devices.address import Address
from calkd_edge.devices.agent_lines import Printed
from calkd_edge.devices.connection import MOST_ANSWER_BYTES, SLOW_S, connection_to, end
from calkd_edge.devices.owner import owner, printable
from calkd_edge.devices.replies import MOST_FILE_BYTES, refused
from calkd_edge.errors import CalkdError, DeviceError
from calkd_edge.files import sha256_of

log = logging.getLogger(__name__)

UNUSED_DAYS = 30
"""Unused files are removed after that time."""

SMALL_BYTES = 8192
"""Files up to this size do not go into the cache."""

SLOWEST_BYTES_PER_S = 50_000
ROOT = '"${XDG_CACHE_HOME:-$HOME/.cache}/calkd-edge"'


class Ssh:
    """A board behind ssh.

    Args:
        name: as the recipe names it.
        host: USER@ADDRESS, or a name of the user's ssh config.
        port: by default that of ssh.
        python: the interpreter that runs the agent there; a path, or a name in its PATH.
    """

    def __init__(
        self,
        name: str,
        *,
        host: Annotated[str, Field(min_length=1)],
        port: Annotated[int | None, Field(ge=1, le=65535)] = None,
        python: Annotated[str, Field(min_length=1)] = "python3",
    ) -> None:
        self.name, self.python = name, python
        self._connection = connection_to(name, Address(host, port))
        self._session = secrets.token_hex(8)
        self._guard: subprocess.Popen[bytes] | None = None
        self.most_bytes = MOST_FILE_BYTES
        self.output = ""

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the session's folder; a file in the board's cache is not sent again.

        Raises:
            DeviceError: the board cannot be reached, its disk is full, or the file arrives changed.
        """
        self._start()
        size = source.stat().st_size
        if size <= SMALL_BYTES:
            self._send_small(source, target)
            return
        name = sha256_of(source)
        if not self._link(name, target, size):
            self._send(source, size, name)
            if not self._link(name, target, size):
                raise DeviceError(
                    f"{self.name}: {target} was sent and has disappeared",
                    remedy="Another process may have cleaned the cache: run again.",
                )

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run a command in the session's folder; `output` keeps what it prints, `on_line` gets each line.

        Raises:
            DeviceError: the connection broke, or the command exceeded `timeout_s` seconds and was stopped.
        """
        self._start()
        printed = Printed()

        def listen(line: bytes) -> None:
            on_line(printed.add(line))

        command = shell.job(self._work, " ".join([shell.path_there(argv[0]), *map(shlex.quote, argv[1:])]))
        try:
            status, _ = self._connection.run(command, timeout_s=timeout_s, on_line=listen)
        except BaseException:
            self._stop_command()
            raise
        finally:
            self.output = printed.text
        return status

    def get(self, source: str, target: Path) -> None:
        """Fetch a file of the session's folder; `target` is written atomically.

        Raises:
            DeviceError: it does not exist, arrives changed, is larger than `most_bytes`, or its size is not
                understood.
        """
        self._start()
        path = f"{self._work}/{shlex.quote(source)}"
        status, listed = self._connection.run(f"echo; sha256sum < {path} && wc -c < {path}")
        if status != 0:
            reason = self.output[-2000:].strip() or shell.text_of(listed)
            full = "No space left" in reason
            printed = "That is what its agent printed last: correct it there, and run again."
            remedy = self._free_space() if full else printed
            raise DeviceError(f"{self.name}: the agent left no {source}: {reason}", remedy=remedy)
        name, digits = shell.last_line(self.name, rb"([0-9a-f]{64})\s+-?\s+([0-9]+)", listed)
        size = int(digits[:20])
        if size > self.most_bytes:
            raise refused(self.name, f"{source} has more than {self.most_bytes} bytes")
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with partial.open("wb") as handle:
                status, _ = self._connection.run(
                    f"cat {path}",
                    timeout_s=_transfer_timeout_s(size),
                    receive=handle,
                    receive_most=size + MOST_ANSWER_BYTES,
                )
            shell.keep_last(partial, size)
            if status != 0 or sha256_of(partial) != name:
                raise DeviceError(
                    f"{self.name}: {source} arrived changed",
                    remedy="Run again; if it happens again, check the connection.",
                )
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the session's folder there; the cache stays."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        with contextlib.suppress(CalkdError):  # the board may be gone
            self._connection.run(f"rm -rf {self._work}")
        end(guard)

    def clean(self) -> bool:
        """Remove the cache, with every file that any session sent.

        Raises:
            DeviceError: the board cannot be reached, or another session runs there.
        """
        busy = f'[ "${{session##*/}}" = {self._session} ] || {{ echo "busy $(cat "$session/owner")"; exit; }}'
        stop = shell.for_each_session(ROOT, live=busy, dead=":")
        _, output = self._connection.run(f"{shell.GREETING}; {stop}; rm -rf {ROOT}")
        self._check_shell(output)
        word, _, other = printable(shell.text_of(output).rpartition("\n")[2]).partition(" ")
        if word == "busy":
            raise DeviceError(
                f"{self.name}: a session of {other or 'someone'} runs there, so nothing was removed",
                remedy="Wait until it has ended, then run this again.",
            )
        return True

    @property
    def _work(self) -> str:
        return f"{ROOT}/sessions/{self._session}"

    def _start(self) -> None:
        """Make the session's folder, and remove old files."""
        if self._guard is not None:
            if self._guard.poll() is None:
                return
            end(self._guard)  # its connection was lost
        old = f'find "$session" -maxdepth 0 -mmin +{shell.STALE_MINUTES} -exec rm -rf {{}} +'
        script = (
            f"{shell.GREETING}; {shell.ENGLISH}; umask 077; mkdir -p {ROOT}/files && "
            f"{shell.until_guarded(self._work)} && "
            f"(cd {self._work} && {shell.STOP_JOB}; true) && "
            f"find {ROOT}/files -mindepth 1 -mtime +{UNUSED_DAYS} -exec rm -f {{}} + && "
            f"{{ {shell.for_each_session(ROOT, live=':', dead=old)}; }}"
        )
        began = time.monotonic()
        status, output = self._connection.run(script)
        self._check_shell(output)
        if (took := time.monotonic() - began) > SLOW_S:
            log.warning("%s: the connection is slow: %.0f s a command, some ten for a job", self.name, took)
        if status != 0:
            raise DeviceError(
                f"{self.name}: its cache folder cannot be made: {shell.text_of(output)}",
                remedy="Free space there, or make sure that ~/.cache belongs to you.",
            )
        self._guard = self._connection.hold(shell.guard(self._work, owner()))

    def _check_shell(self, output: bytes) -> None:
        if shell.ANSWER not in output:
            system = b""
            with contextlib.suppress(CalkdError):
                _, system = self._connection.run(shell.WHICH_SYSTEM, timeout_s=10, as_is=True)
            raise shell.no_shell(
                self.name, shell.text_of(output), self._connection.address.by_hand(), shell.text_of(system)
            )

    def _link(self, name: str, target: str, size: int) -> bool:
        """Link a file of the cache into the session's folder; returns whether the cache has it.

        A file whose content does not match its name is removed. A run checks a file's content once.
        """
        stored, path = f"{ROOT}/files/{name}", f"{self._work}/{shlex.quote(target)}"
        check = f"{{ {shell.has_content(stored, name)} || {{ rm -f {stored}; false; }}; }} && "
        status, _ = self._connection.run(
            f"[ -f {stored} ] && {'' if name in self._connection.verified_files else check}"
            f"touch {stored} && (ln -f {stored} {path} || cp {stored} {path})",
            timeout_s=_transfer_timeout_s(size),
        )
        if status == 0:
            self._connection.verified_files.add(name)
        return status == 0

    def _send(self, source: Path, size: int, name: str) -> None:
        """Send what the board lacks of a file, and give it its name when it is complete."""
        part, sender = (f"{ROOT}/files/{name}.{self._session}.{kind}" for kind in ("part", "pid"))
        status, output = self._connection.run(shell.claim_part(ROOT, name, part))
        offset = int(shell.last_line(self.name, rb"([0-9]+)", output)[0]) if status == 0 else 0
        if offset >= size:
            offset = 0
            self._connection.run(f"rm -f {part}")
        with source.open("rb") as handle:
            handle.seek(offset)
            status, output = self._connection.run(
                # Without sync a name may survive a power loss that its content does not. An old sync takes no
                # files and writes everything.
                f"{shell.ENGLISH}; echo $$ > {sender}; cat >> {part} && {shell.has_content(part, name)} && "
                f"{{ sync {part} || sync; }} "
                f"&& mv -f {part} {ROOT}/files/{name} && rm -f {sender}",
                timeout_s=_transfer_timeout_s(size - offset),
                send=handle,
            )
        if status == 0:
            self._connection.verified_files.add(name)
            return
        self._connection.run(f"rm -f {part} {sender}")
        if b"No space left" in output or b"quota" in output:
            raise DeviceError(
                f"{self.name}: its disk is full: {size / 1e6:.1f} MB of {source.name} do not fit",
                remedy=self._free_space(),
            )
        if offset:
            self._send(source, size, name)
            return
        raise DeviceError(
            f"{self.name}: {source.name} arrived damaged: {shell.text_of(output) or 'its content differs'}",
            remedy="Run again; if it happens again, check the connection and the disk there.",
        )

    def _send_small(self, source: Path, target: str) -> None:
        """Write a file into the session's folder, without the cache."""
        path = f"{self._work}/{shlex.quote(target)}"
        with source.open("rb") as handle:
            status, output = self._connection.run(
                f"{shell.ENGLISH}; rm -f {path} && cat > {path}", send=handle
            )
        if status != 0:
            full = b"No space left" in output
            raise DeviceError(
                f"{self.name}: {target} cannot be written there: {shell.text_of(output)}",
                remedy=self._free_space() if full else "Make sure that ~/.cache there belongs to you.",
            )

    def _free_space(self) -> str:
        return (
            "Free space there, or remove the files of earlier sessions: "
            f"calkd-edge doctor --device {self.name} --clean"
        )

    def _stop_command(self) -> None:
        with contextlib.suppress(CalkdError):
            self._connection.run(f"cd {self._work} && {shell.STOP_JOB}; true", timeout_s=15)


def _transfer_timeout_s(size: int) -> float:
    """Seconds that a transfer may take."""
    return 60.0 + size / SLOWEST_BYTES_PER_S
