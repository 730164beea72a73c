"""The shell of a board: whether it is one, what answers in its place, and how paths are written for it."""

from __future__ import annotations

import shlex

from calkd_edge.errors import DeviceError

GREETING, ANSWER = "echo calkd-edge $((6 * 7))", b"calkd-edge 42"
"""The first command of a session, and what a POSIX shell makes of it; nothing is sent before."""


def path_there(path: str) -> str:
    """A program's path for a shell on the board; ~, $HOME or nothing may stand for its home folder."""
    for home in ("~/", "$HOME/", "${HOME}/"):
        if path.startswith(home):
            return f'"$HOME"/{shlex.quote(path.removeprefix(home))}'
    if "/" in path and not path.startswith("/"):
        return f'"$HOME"/{shlex.quote(path)}'
    return shlex.quote(path)


def no_shell(name: str, text: str, by_hand: str) -> DeviceError:
    """Why a board runs no command, from what it answers instead.

    Args:
        name: of the device.
        text: what came back.
        by_hand: the ssh command line that reaches the board.
    """
    lower = text.lower()
    if "not recognized as" in lower or "commandnotfoundexception" in lower:
        return DeviceError(
            f"{name}: a shell of Windows answers there, which is no POSIX shell",
            remedy="Use a board with Linux; on a PC with Windows, the ssh server of its WSL.",
        )
    if "not available" in lower or "nologin" in lower:
        return DeviceError(
            f"{name}: the account may not log in: {text}",
            remedy="Use another account, or give it a shell on the board: sudo chsh -s /bin/sh USER",
        )
    if "password" in lower and ("expired" in lower or "change" in lower):
        return DeviceError(
            f"{name}: the account's password must be changed first: {text}",
            remedy=f"Log in once by hand: {by_hand}",
        )
    return DeviceError(
        f"{name}: its shell does not run commands: {text or 'no output'}",
        remedy=f"This must print 42: {by_hand} 'echo $((6 * 7))'. A start-up file there that starts another "
        "shell or reads standard input prevents it.",
    )
