"""One connection to a board by the system's ssh, shared by all commands: user's config, keys and jump hosts.

Host keys are always verified; passwords are never requested. A lost connection raises a DeviceError; the next
command opens a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from calkd_edge.devices.address import Address, unreachable
from calkd_edge.devices.agent_lines import lines_of
from calkd_edge.errors import DeviceError, EnvironmentProblem
from calkd_edge.files.scratch import ScratchFolder

log = logging.getLogger(__name__)

CONNECT_S, ALIVE_S, ALIVE_COUNT = 10, 5, 3
"""A board that is silent for ALIVE_S x ALIVE_COUNT seconds counts as lost."""

IDLE_S, SSH_FAILED = 120, 255
COMMAND_S = 60.0
SLOW_S = 3.0
"""A connection that takes longer to open, or longer for a command without work, is slow."""

PIECE = 1 << 18
MOST_ANSWER_BYTES = 1 << 20
"""The end of a command's output that is kept; a greeting before a file is no longer."""
SOCKET, LOG = "s", "log"


class Connection:
    """Runs commands on a board, in its POSIX shell.

    Attributes:
        verified_files: files of the board's cache whose content this process has checked.

    Args:
        name: of the device, for messages.
        address: of the board.
    """

    def __init__(self, name: str, address: Address) -> None:
        if shutil.which("ssh") is None:
            raise EnvironmentProblem(
                "there is no ssh on this machine", remedy="Install OpenSSH's client: openssh-client."
            )
        if address.host.startswith("-") or not address.host.strip():
            raise DeviceError(f"{name}: '{address.host}' is no host", remedy="Write host: USER@ADDRESS.")
        self.name, self.address = name, address
        self.verified_files: set[str] = set()
        self._scratch: ScratchFolder | None = None
        atexit.register(self.close)

    def run(
        self,
        script: str,
        *,
        timeout_s: float = COMMAND_S,
        send: IO[bytes] | None = None,
        receive: IO[bytes] | None = None,
        receive_most: int = MOST_ANSWER_BYTES,
        on_line: Callable[[bytes], None] | None = None,
        as_is: bool = False,
    ) -> tuple[int, bytes]:
        """Run a shell script there; returns its exit status and its output.

        Args:
            script: for `sh`.
            timeout_s: after so many seconds the command is stopped.
            send: its standard input.
            receive: gets its standard output, which is then not returned.
            receive_most: bytes that it gets at most.
            on_line: gets each line of output and errors as it comes; they are then not returned.
            as_is: whether the script goes to whatever answers there, without `sh`.

        Raises:
            DeviceError: the board cannot be reached, the connection broke, or the time ran out.
        """
        words = [script] if as_is else ["sh", "-c", shlex.quote(script)]
        command = [*self._ssh("-S", str(self._socket())), *words]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                env=_environment(),
                stdin=subprocess.PIPE if send is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors if on_line is None else subprocess.STDOUT,
            )
            timed_out = threading.Event()

            def stop() -> None:
                timed_out.set()
                process.kill()
                self.close()  # it holds the command's pipes

            alarm = threading.Timer(timeout_s, stop)
            feeder = threading.Thread(target=_feed, args=(process, send), daemon=True)
            alarm.start()
            feeder.start()
            try:
                output = _read(process, receive, receive_most, on_line)
                process.wait()
            finally:
                alarm.cancel()
                process.kill()
                process.wait()
                feeder.join()
                if process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.close()
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - MOST_ANSWER_BYTES))
            error_output = errors.read()
        if timed_out.is_set():
            raise DeviceError(
                f"{self.name}: {self.address} was not done after {timeout_s:.0f} s",
                remedy="Stop other work on the board, or request less; run again: finished work is kept.",
            )
        if process.returncode == SSH_FAILED:
            raise self._lost(error_output or output)
        return process.returncode, output if process.returncode == 0 else output + error_output

    def hold(self, script: str) -> subprocess.Popen[bytes]:
        """Start a script there that runs until its standard input ends: by `end`, or with the connection.

        Raises:
            DeviceError: the board cannot be reached.
        """
        return subprocess.Popen(
            [*self._ssh("-S", str(self._socket())), "sh", "-c", shlex.quote(script)],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Close the connection; a command after it opens a new one."""
        scratch, self._scratch = self._scratch, None
        if scratch is None:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                self._ssh("-S", str(scratch.path / SOCKET), "-O", "exit"),
                timeout=10,
                check=False,
                capture_output=True,
            )
        scratch.close()

    def _socket(self) -> Path:
        """The socket of the shared connection, which opens on first use and closes after IDLE_S."""
        if self._scratch is not None and (self._scratch.path / SOCKET).exists():
            return self._scratch.path / SOCKET
        self.close()
        self._scratch = ScratchFolder()  # a short path: that of a socket has at most a hundred characters
        socket, log_file = (self._scratch.path / name for name in (SOCKET, LOG))
        messages_to = ("-E", str(log_file))  # in the background ssh writes messages nowhere else
        with (
            tempfile.TemporaryFile() as messages,
            _warned_when_slow(f"{self.name}: connecting to {self.address}"),
        ):
            command = self._ssh(
                "-M", "-N", "-f", "-S", str(socket), *messages_to, "-o", f"ControlPersist={IDLE_S}"
            )
            try:
                status = subprocess.run(
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    timeout=6 * CONNECT_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                status = SSH_FAILED
            messages.seek(0)
            text = f"{messages.read().decode('utf-8', 'replace')}\n{self._logged()}".strip()
        if status != 0:
            raise unreachable(self.name, self.address, text)
        log_file.write_bytes(b"")  # a greeting is no reason for a later failure
        return socket

    def _ssh(self, *options: str) -> list[str]:
        port = [] if self.address.port is None else ["-p", str(self.address.port)]
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "RemoteCommand": "none",  # the user's config may start tmux there
            "LogLevel": "INFO",  # or be quiet about the reason of a failure
        }
        flags = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        return ["ssh", "-T", *flags, *port, *options, self.address.host]

    def _logged(self) -> str:
        """The messages of the shared connection."""
        if self._scratch is None:
            return ""
        with contextlib.suppress(OSError):
            return (self._scratch.path / LOG).read_text(encoding="utf-8", errors="replace").strip()
        return ""

    def _lost(self, output: bytes) -> DeviceError:
        lines = f"{output.decode('utf-8', 'replace').strip()}\n{self._logged()}".strip().splitlines()
        self.close()
        return DeviceError(
            f"{self.name}: the connection to {self.address} broke: {lines[-1] if lines else 'closed'}",
            remedy="Check cable and board, then run again: finished work is kept, and no file is sent twice.",
        )


_OPEN: dict[Address, Connection] = {}


def connection_to(name: str, address: Address) -> Connection:
    """The connection of this process to an address; there is only one."""
    if address not in _OPEN:
        _OPEN[address] = Connection(name, address)
    return _OPEN[address]


def _read(
    process: subprocess.Popen[bytes],
    receive: IO[bytes] | None,
    receive_most: int,
    on_line: Callable[[bytes], None] | None,
) -> bytes:
    """Pass the output of a command on; returns the end of it where nobody receives it."""
    assert process.stdout is not None
    with process.stdout as output:
        if receive is not None:
            while receive_most > 0 and (piece := output.read(min(PIECE, receive_most))):
                receive.write(piece)
                receive_most -= len(piece)
            return b""
        last = b""
        if on_line is None:
            while piece := output.read(PIECE):
                last = (last + piece)[-MOST_ANSWER_BYTES:]
            return last
        for last in lines_of(output):
            on_line(last)
        return last


def _environment() -> dict[str, str]:
    """This process' environment, with ssh's messages in the language in which they are recognised."""
    return {**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}


@contextlib.contextmanager
def _warned_when_slow(work: str) -> Iterator[None]:
    """Warn that some work takes long, after SLOW_S seconds of it."""
    alarm = threading.Timer(SLOW_S, lambda: log.warning("%s takes long", work))
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a script that `Connection.hold` started; what it still does there goes on without us."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.kill()
    process.wait()


def _feed(process: subprocess.Popen[bytes], source: IO[bytes] | None) -> None:
    """Write a command's standard input; a command may end before it has read everything."""
    if source is None or process.stdin is None:
        return
    with contextlib.suppress(OSError, ValueError):
        shutil.copyfileobj(source, process.stdin, PIECE)
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()
