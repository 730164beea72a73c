"""A stand-in board: a real sshd on loopback, whose sessions see a home of their own and one chosen Python."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.devices import connection


def missing() -> str:
    """What this machine lacks for it, as a sentence; empty when nothing."""
    lacking = [name for name in ("sshd", "ssh", "ssh-keygen") if find(name) is None]
    return f"there is no {' and no '.join(lacking)}: apt-get install openssh-server" if lacking else ""


def find(name: str) -> str | None:
    """The path of a command; sshd is often outside of a user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class Board:
    """A running sshd.

    Attributes:
        folder: holds its keys and settings, the home of its sessions, its commands.
        port: on 127.0.0.1.
        server: the process.
    """

    folder: Path
    port: int
    server: subprocess.Popen[bytes]

    host = "board"
    """Its name in the configuration of the ssh in `client`."""

    @property
    def home(self) -> Path:
        """Where a session finds itself."""
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        """What calkd-edge keeps there."""
        return self.home / ".cache/calkd-edge"

    @property
    def client(self) -> Path:
        """A folder for PATH, with an ssh that knows the board, its key and ours."""
        return self.folder / "client"

    def cut(self) -> None:
        """Kill every open session, as a pulled cable does."""
        for child in children(self.server.pid):
            for process in (*children(child), child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End it with all its sessions."""
        self.cut()
        self.server.terminate()
        self.server.wait(10)


class Client:
    """A folder for PATH, with an ssh that has a key of its own and knows one board.

    Args:
        folder: where to put it.
        port: of the board.
        accepted: the board's file of accepted keys; ours is written there.
        address: of the board.
    """

    def __init__(self, folder: Path, port: int, accepted: Path, address: str = "127.0.0.1") -> None:
        self.address = address
        self.folder, self.hosts, self.port = folder / "client", folder / "known_hosts", port
        self.folder.mkdir()
        key = folder / "user_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        accepted.write_text(key.with_suffix(".pub").read_text(encoding="utf-8"), encoding="utf-8")
        config = folder / "ssh_config"
        config.write_text(
            f"Host {Board.host}\n HostName {address}\n Port {port}\n IdentityFile {key}\n"
            f" IdentitiesOnly yes\n UserKnownHostsFile {self.hosts}\n GlobalKnownHostsFile /dev/null\n",
            encoding="utf-8",
        )
        _script(self.folder / "ssh", f'exec {find("ssh")} -F {config} "$@"')

    def knows(self, host_key: str) -> None:
        """The board's public key, as ssh-keygen wrote it."""
        self.hosts.write_text(f"[{self.address}]:{self.port} {host_key}", encoding="utf-8")


def start(
    folder: Path,
    python: Path | None = None,
    machine: str | None = None,
    listen: str = "127.0.0.1",
    more: str = "",
) -> Board:
    """A board in an empty folder.

    Args:
        folder: for everything of it.
        python: what its python3 is; this Python where none is given.
        machine: what its `uname -m` says, where that is another.
        listen: its address.
        more: lines for its sshd_config.
    """
    for name in ("home", "bin"):
        (folder / name).mkdir()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key")], check=True
    )
    _script(folder / "bin/python3", f'exec {shlex.quote(str(python or sys.executable))} "$@"')
    if machine is not None:
        _script(folder / "bin/uname", f'[ "$1" = -m ] && echo {machine} || exec /usr/bin/uname "$@"')
    _script(
        folder / "shell",
        f"cd {folder}/home && exec env -i HOME={folder}/home USER=board PATH={folder}/bin:/usr/bin:/bin "
        'sh -c "$SSH_ORIGINAL_COMMAND"',
    )
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {listen}\n{more}HostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/accepted_keys\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nForceCommand {folder}/shell\n"
        "SetEnv SHLVL=9\n",  # else bash reads the start-up file of whoever runs the tests
        encoding="utf-8",
    )
    client = Client(folder, port, folder / "accepted_keys", listen)
    client.knows((folder / "host_key.pub").read_text(encoding="utf-8"))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [str(find("sshd")), "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    board = Board(folder, port, server)
    wait_until_it_listens(server, port, folder / "sshd.log", listen)
    return board


def disconnect() -> None:
    """Close all connections of this process, as its end does."""
    while connection._OPEN:
        connection._OPEN.popitem()[1].close()


def children(pid: int) -> list[int]:
    """The processes that one started and that still run."""
    listing = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listing.stdout.split()]


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_listens(
    server: subprocess.Popen[bytes], port: int, log: Path | None = None, address: str = "127.0.0.1"
) -> None:
    """Until a server takes connections on loopback.

    Raises:
        RuntimeError: it ended, or took more than ten seconds.
    """
    for _ in range(100):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(log.read_text(encoding="utf-8") if log is not None else "it does not listen")
