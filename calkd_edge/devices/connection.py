"""One connection to a board by the system's ssh, shared by all commands: user's config, keys and jump hosts.

Host keys are always verified, passwords never asked for. A connection that is cut ends in a DeviceError; the
next command opens a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from calkd_edge.errors import DeviceError, EnvironmentProblem

CONNECT_S, ALIVE_S, ALIVE_COUNT = 10, 5, 3
"""A board that says nothing for ALIVE_S x ALIVE_COUNT seconds is taken for gone."""

IDLE_S = 120
SSH_FAILED = 255
COMMAND_S = 60.0
PIECE = 1 << 18
SOCKET, LOG = "s", "log"


@dataclass(frozen=True)
class Address:
    """Where a board is, as ssh knows it.

    Attributes:
        host: [user@]host, or a name of the user's ssh config.
        port: None for what ssh would take.
    """

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


class Connection:
    """Runs commands on a board, in its own POSIX shell.

    Args:
        name: of the device, for messages.
        place: its address.
    """

    def __init__(self, name: str, place: Address) -> None:
        if shutil.which("ssh") is None:
            raise EnvironmentProblem(
                "there is no ssh on this machine", remedy="Install OpenSSH's client: openssh-client."
            )
        if place.host.startswith("-") or not place.host.strip():
            raise DeviceError(f"{name}: '{place.host}' is no host", remedy="Write host: USER@ADDRESS.")
        self.name, self.place = name, place
        self._folder: Path | None = None
        atexit.register(self.close)

    def run(
        self,
        script: str,
        *,
        timeout_s: float = COMMAND_S,
        send: IO[bytes] | None = None,
        receive: IO[bytes] | None = None,
        heard: Callable[[bytes], None] | None = None,
    ) -> tuple[int, bytes]:
        """Run a shell script there; its exit status, and what it printed.

        Args:
            script: for `sh`.
            timeout_s: after so many seconds the command is given up.
            send: what it reads on standard input.
            receive: takes its standard output, which is then not returned.
            heard: gets each line as it comes, errors among them; they are then not returned.

        Raises:
            DeviceError: the board cannot be reached, the connection broke, or time ran out.
        """
        command = [*self._ssh("-S", str(self._socket())), "sh", "-c", shlex.quote(script)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if send is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors if heard is None else subprocess.STDOUT,
            )
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()
                self.close()  # which holds the command's pipes

            alarm = threading.Timer(timeout_s, end)
            feeder = threading.Thread(target=_feed, args=(process, send), daemon=True)
            alarm.start()
            feeder.start()
            try:
                printed = _read(process, receive, heard)
                process.wait()
            finally:
                alarm.cancel()
                process.kill()
                process.wait()
                feeder.join()
            errors.seek(0)
            said = errors.read()
        if late.is_set():
            raise DeviceError(
                f"{self.name}: {self.place} was not done after {timeout_s:.0f} s",
                remedy="See what loads the board, or ask for less; run again, what is finished is kept.",
            )
        if process.returncode == SSH_FAILED:
            raise self._lost(said or printed)
        return process.returncode, printed if process.returncode == 0 else printed + said

    def close(self) -> None:
        """Close the connection; a command after it opens a new one."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                self._ssh("-S", str(folder / SOCKET), "-O", "exit"),
                timeout=10,
                check=False,
                capture_output=True,
            )
        shutil.rmtree(folder, ignore_errors=True)

    def _socket(self) -> Path:
        """Of the shared connection, opened where there is none; long idle, it ends by itself."""
        if self._folder is not None and (self._folder / SOCKET).exists():
            return self._folder / SOCKET
        self.close()
        # A short path: that of a socket has at most some hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="calkd-"))
        socket = self._folder / SOCKET
        log = ("-E", str(self._folder / LOG))  # in the background it says nothing anywhere else
        with tempfile.TemporaryFile() as said:
            command = self._ssh("-M", "-N", "-f", "-S", str(socket), *log, "-o", f"ControlPersist={IDLE_S}")
            try:
                status = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    timeout=6 * CONNECT_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                status = SSH_FAILED
            said.seek(0)
            words = f"{said.read().decode('utf-8', 'replace')}\n{self._logged()}".strip()
        if status != 0:
            raise self._unreachable(words)
        (self._folder / LOG).write_bytes(b"")  # what it greeted with is no reason for what happens later
        return socket

    def _ssh(self, *options: str) -> list[str]:
        port = [] if self.place.port is None else ["-p", str(self.place.port)]
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
        }
        told = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        return ["ssh", "-T", *told, *port, *options, self.place.host]

    def _unreachable(self, words: str) -> DeviceError:
        last = words.splitlines()[-1] if words else "no answer"
        if "Host key verification failed" in words or "No matching host key" in words:
            return DeviceError(
                f"{self.name}: the host key of {self.place} is not known or has changed",
                remedy=f"Compare it on the board, then accept it once by hand: {self._by_hand()}",
            )
        if "Permission denied" in words:
            return DeviceError(
                f"{self.name}: {self.place} accepts none of your keys ({last})",
                remedy=f"Copy your key there: ssh-copy-id {self._by_hand().removeprefix('ssh ')}",
            )
        return DeviceError(
            f"{self.name}: {self.place} cannot be reached: {last}",
            remedy=f"See that it is on and that this works: {self._by_hand()} true",
        )

    def _logged(self) -> str:
        """What the shared connection itself has said."""
        if self._folder is None:
            return ""
        with contextlib.suppress(OSError):
            return (self._folder / LOG).read_text(encoding="utf-8", errors="replace").strip()
        return ""

    def _lost(self, words: bytes) -> DeviceError:
        lines = f"{words.decode('utf-8', 'replace').strip()}\n{self._logged()}".strip().splitlines()
        self.close()
        return DeviceError(
            f"{self.name}: the connection to {self.place} broke: {lines[-1] if lines else 'closed'}",
            remedy="See cable and board, then run again: what is finished is kept and not sent anew.",
        )

    def _by_hand(self) -> str:
        port = "" if self.place.port is None else f"-p {self.place.port} "
        return f"ssh {port}{self.place.host}"


def _read(
    process: subprocess.Popen[bytes], receive: IO[bytes] | None, heard: Callable[[bytes], None] | None
) -> bytes:
    """What a command prints, to where it belongs; what is left is returned."""
    assert process.stdout is not None
    with process.stdout as output:
        if receive is not None:
            shutil.copyfileobj(output, receive, PIECE)
            return b""
        if heard is None:
            return output.read()
        last = b""
        for last in output:
            heard(last)
        return last


def _feed(process: subprocess.Popen[bytes], source: IO[bytes] | None) -> None:
    """Hand a command its standard input; a command that ends early has had enough."""
    if source is None or process.stdin is None:
        return
    with contextlib.suppress(OSError, ValueError):
        shutil.copyfileobj(source, process.stdin, PIECE)
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()
