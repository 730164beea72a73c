"""The shell of a board: whether it is one, what answers in its place, and how paths are written for it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from calkd_edge.devices.connection import PIECE
from calkd_edge.errors import DeviceError

GREETING, ANSWER = "echo calkd-edge $((6 * 7))", b"calkd-edge 42"
"""The first command of a session, and what a POSIX shell makes of it; nothing is sent before."""

ENGLISH = "export LC_ALL=C"
"""Before commands whose messages are recognised: the board may speak another language."""

ENDED_S = 20
"""A session whose connection ended may return for so many seconds."""

STOP_JOB = '[ "/proc/$(cat pid 2> /dev/null)/cwd" -ef . ] && kill "$(cat pid)" 2> /dev/null'
"""In a session's folder: end the job there, if there is one.

After a reboot of the board, the number may be another program's, which works in another folder."""

STALE_MINUTES = 10
"""A session's folder without a guard, as after a loss of power, is removed after that time."""


def path_there(path: str) -> str:
    """A program's path for a shell on the board; ~, $HOME or nothing may stand for its home folder."""
    for home in ("~/", "$HOME/", "${HOME}/"):
        if path.startswith(home):
            return f'"$HOME"/{shlex.quote(path.removeprefix(home))}'
    if "/" in path and not path.startswith("/"):
        return f'"$HOME"/{shlex.quote(path)}'
    return shlex.quote(path)


WHICH_SYSTEM = "echo %OS% $env:OS"
"""What Windows answers with its name in any language: cmd.exe replaces the first, PowerShell the second."""


def no_shell(name: str, text: str, by_hand: str, system: str) -> DeviceError:
    """Why a board runs no command, from what it answers instead.

    Args:
        name: of the device.
        text: what came back.
        by_hand: the ssh command line that reaches the board.
        system: the answer to WHICH_SYSTEM.
    """
    lower = text.lower()
    if "Windows_NT" in system or "not recognized as" in lower or "commandnotfoundexception" in lower:
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


def until_guarded(work: str) -> str:
    """A script that makes a session's folder, which goes away again where no guard comes.

    Args:
        work: the folder, as the shell expands it.
    """
    unguarded = f"sleep {ENDED_S}; [ -e {work}/guard ] || rm -rf {work}"
    return f"mkdir -p {work} && {{ ({unguarded}) < /dev/null > /dev/null 2>&1 & }}"


def guard(work: str, owner: str) -> str:
    """A script that lives as long as a session: it says whose it is, and removes the folder after it.

    Its standard input ends with the session, with the process that opened it, and with the connection. Where
    it comes so late that the session is over, there is no folder, and it makes none.

    Args:
        work: the session's folder, as the shell expands it.
        owner: the user and the machine that the session belongs to.
    """
    mine = '[ "$(cat guard)" = $$ ]'  # a session that returned has another guard
    return (
        f"umask 077; cd {work} || exit 0; echo {shlex.quote(owner)} > owner && echo $$ > guard "
        "&& cat > /dev/null; "
        f"{mine} || exit 0; {STOP_JOB}; sleep {ENDED_S}; {mine} && rm -rf {work}"
    )


def for_each_session(root: str, live: str, dead: str) -> str:
    """A script that does one thing for each session whose guard runs, and another for the rest.

    Args:
        root: of the cache, as the shell expands it.
        live: a script; "$session" is the folder.
        dead: the same.
    """
    # A process number may be another program's by now: the guard's command line names its folder.
    return (
        f'for session in {root}/sessions/*; do [ -d "$session" ] || continue; '
        'guard=$(cat "$session/guard" 2> /dev/null); '
        'if [ -n "$guard" ] && grep -qs "${session##*/}" "/proc/$guard/cmdline"; '
        f"then {live}; else {dead}; fi; done"
    )


def job(work: str, command: str) -> str:
    """A script that runs a command in a session's folder; `pid` there holds its process until it ends.

    Args:
        work: the folder, as the shell expands it.
        command: as the shell reads it.
    """
    # No exec: a command that a signal ends would look like a broken connection.
    return (
        f"cd {work} && {{ {command} < /dev/null & job=$!; echo $job > pid; "
        "wait $job; status=$?; rm -f pid; exit $status; }"
    )


def claim_part(root: str, name: str, part: str) -> str:
    """A script that prints how much of a file the board has, in `part`.

    Each session has a part of its own: another host may send the same file now. A part whose sender is gone
    is taken over.

    Args:
        root: of the cache, as the shell expands it.
        name: of the file in the cache.
        part: of this session, as the shell expands it.
    """
    return (
        f'echo; for old in {root}/files/{name}.*.part; do [ -f "$old" ] || continue; '
        f'kill -0 "$(cat "${{old%.part}}.pid" 2> /dev/null)" 2> /dev/null && continue; '
        f'rm -f "${{old%.part}}.pid"; [ "$old" = {part} ] || mv -f "$old" {part}; break; done; '
        f"if [ -f {part} ]; then wc -c < {part}; else echo 0; fi"
    )


def has_content(path: str, name: str) -> str:
    """A shell test that a file there has the SHA-256 that its name is."""
    return f'[ "$(sha256sum < {path} | cut -c1-64)" = {name} ]'


def keep_last(path: Path, size: int) -> None:
    """Remove the shell's greeting before a file: all but the last `size` bytes."""
    extra = path.stat().st_size - size
    if extra <= 0:
        return
    with path.open("r+b") as file:
        for position in range(0, size, PIECE):
            file.seek(position + extra)
            piece = file.read(PIECE)
            file.seek(position)
            file.write(piece)
        file.truncate(size)


def last_line(name: str, pattern: bytes, output: bytes) -> list[str]:
    """The groups of a pattern in the last line of an output, after any greeting of the shell.

    Raises:
        DeviceError: the last line does not match.
    """
    match = re.search(rb"^\s*" + pattern + rb"\s*\Z", output, re.M)
    if match is None:
        raise DeviceError(
            f"{name}: the output of its shell is not understood: {text_of(output)!r}",
            remedy="Let ~/.bashrc, ~/.profile and the like print nothing in a shell without a terminal.",
        )
    return [group.decode() for group in match.groups()]


def text_of(output: bytes) -> str:
    """The end of an output, for a message."""
    return output.decode("utf-8", "replace").strip()[-500:]
