"""Where a board is for ssh, and why it cannot be reached."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from calkd_edge.errors import DeviceError


@dataclass(frozen=True)
class Address:
    """The address of a board for ssh.

    Attributes:
        host: [user@]host, or a name of the user's ssh config.
        port: None for the default of ssh.
    """

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def by_hand(self) -> str:
        """The command line that reaches the board."""
        port = "" if self.port is None else f"-p {self.port} "
        return f"ssh {port}{self.host}"


def unreachable(name: str, address: Address, text: str) -> DeviceError:
    """Why a connection could not be opened, from what ssh printed."""
    last = text.splitlines()[-1] if text else "no answer"
    where = str(address) if name == str(address) else f"{name}: {address}"
    if "HOST IDENTIFICATION HAS CHANGED" in text:
        # As the file of known hosts writes it: the user's configuration may give it another name and port.
        known = re.search(r"Host key for (\S+) has changed", text)
        file = re.search(r"Offending .* key in (.+):\d+\s*$", text, re.M)
        forget = f"ssh-keygen -R {shlex.quote(known[1] if known else address.host.rpartition('@')[2])}"
        forget += f" -f {shlex.quote(file[1])}" if file else ""
        return DeviceError(
            f"{name}: the host key of {address} has changed",
            remedy="If the board was flashed or replaced, compare the new key on the board itself, then "
            f"forget the old one: {forget} and accept the new one once: {address.by_hand()}. Otherwise "
            "something else may answer under this address: do not connect.",
        )
    if "Host key verification failed" in text or "No matching host key" in text:
        return DeviceError(
            f"{name}: the host key of {address} is not known here",
            remedy=f"Compare it on the board, then accept it once by hand: {address.by_hand()}",
        )
    if "Permission denied" in text:
        return DeviceError(
            f"{where} accepts none of your keys ({last})",
            remedy=f"Copy your key there: ssh-copy-id {address.by_hand().removeprefix('ssh ')}. If it has a "
            "passphrase, load it into the agent first: ssh-add",
        )
    return DeviceError(
        f"{where} cannot be reached: {last}",
        remedy=f"Check that it is on and that this works: {address.by_hand()} true",
    )
