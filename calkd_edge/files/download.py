"""Download of one file: resumed after an interruption, checked before it gets its name."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.digest import file_digest

if TYPE_CHECKING:
    import requests  # loaded by the first download: most commands need none

Progress = Callable[[int, int], None]
"""Called with the bytes received and the total; the total is 0 while it is not known."""

CHUNK_BYTES = 1 << 16
ATTEMPTS = 4
TIMEOUT_S = (10.0, 30.0)
"""Seconds to connect, and seconds without a byte after which a server counts as stalled."""


class Checksum(NamedTuple):
    """A file's digest, or how it begins, in hexadecimal; `algorithm` as hashlib names it."""

    algorithm: str
    digest: str

    def fits(self, path: Path) -> bool:
        """Whether a file has this digest."""
        return file_digest(path, self.algorithm).startswith(self.digest)


def download(
    url: str,
    target: Path,
    *,
    checksum: Checksum,
    progress: Progress,
    remedy: str = "Check the network and start again: the download continues where it stopped.",
    timeout_s: tuple[float, float] = TIMEOUT_S,
) -> None:
    """Fetch `url` into `target`, which appears by one rename and only with the right checksum.

    An interrupted download stays as `<target>.part` and is continued, by the next attempt or the next run.
    Two processes that want the same file wait for each other.

    Args:
        url: where the file is.
        target: where it goes; its folder is made. Nothing happens when it exists and is right.
        checksum: of the complete file.
        progress: called with the bytes received and the total.
        remedy: what a reader can do when the network fails.
        timeout_s: seconds to connect, and seconds a server may stay silent.

    Raises:
        EnvironmentProblem: the server cannot be reached, stalls or refuses; the disk is full or read-only;
            the checksum is wrong, in which case the part is removed.
    """
    part = target.with_name(f"{target.name}.part")
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0, os.SEEK_END)  # another process may have written while this one waited
            if target.exists() and checksum.fits(target):
                part.unlink(missing_ok=True)
                return
            try:
                _fetch(url, stream, progress=progress, remedy=remedy, timeout_s=timeout_s)
            except EnvironmentProblem:
                if stream.tell() == 0:
                    _remove(part, made)
                raise
            stream.flush()
            if not checksum.fits(part):
                part.unlink()
                raise EnvironmentProblem(
                    f"{url} did not give the right file: its {checksum.algorithm.upper()} is not "
                    f"{checksum.digest}; the download was removed",
                    remedy=remedy,
                )
            part.rename(target)
    except OSError as wrong:
        raise EnvironmentProblem(
            f"cannot write {part}: {wrong.strerror or wrong}",
            remedy=f"Free space there. {remedy}",
        ) from wrong


def check_reachable(url: str, *, what: str, remedy: str, timeout_s: float = 4.0) -> None:
    """Ask for a file's head only, before hours of work that need the file afterwards.

    Args:
        url: of the file.
        what: what needs it, for the message.
        remedy: what a reader can do without a network.
        timeout_s: seconds to connect, and to answer.

    Raises:
        EnvironmentProblem: the server cannot be reached or has no such file.
    """
    import requests

    try:
        requests.head(url, timeout=timeout_s, allow_redirects=True).raise_for_status()
    except requests.RequestException as wrong:
        raise EnvironmentProblem(f"{what}: cannot download {url}: {_reason(wrong)}", remedy=remedy) from wrong


def _fetch(
    url: str, stream: BinaryIO, *, progress: Progress, remedy: str, timeout_s: tuple[float, float]
) -> None:
    import requests

    with requests.Session() as session:
        fruitless = 0
        while True:
            before = stream.tell()
            try:
                return _continue(session, url, stream, progress, timeout_s)
            except requests.RequestException as wrong:
                # A server that still sends bytes is asked again; one that sends none, a few times only.
                fruitless = 0 if stream.tell() > before else fruitless + 1
                refused = wrong.response is not None and wrong.response.status_code < 500
                if refused or fruitless >= ATTEMPTS or isinstance(wrong, requests.ConnectTimeout):
                    raise EnvironmentProblem(
                        f"cannot download {url}: {_reason(wrong)}", remedy=remedy
                    ) from wrong


def _continue(
    session: requests.Session, url: str, stream: BinaryIO, progress: Progress, timeout_s: tuple[float, float]
) -> None:
    """Append the bytes that are missing; raises RequestException when they do not all come."""
    import requests

    done = stream.tell()
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with session.get(url, headers=headers, stream=True, timeout=timeout_s) as reply:
        span = reply.headers.get("Content-Range", "")
        if reply.status_code == 416 and span == f"bytes */{done}":
            return  # the part is complete; only its checksum is still to be checked
        if reply.status_code == 416 or (reply.status_code == 206 and not span.startswith(f"bytes {done}-")):
            _empty(stream)
            raise requests.RequestException("the server sent another range than requested")
        reply.raise_for_status()
        if reply.status_code != 206 and done:
            done = _empty(stream)
        length = reply.headers.get("Content-Length")
        total = done + int(length) if length else 0
        for piece in reply.iter_content(CHUNK_BYTES):
            stream.write(piece)
            done += len(piece)
            progress(done, total)
    if total and done < total:
        raise requests.ConnectionError(f"the connection ended after {done} of {total} bytes")


def _remove(part: Path, folders: Sequence[Path]) -> None:
    """Remove a part without a byte and the folders that were made for it: the path may be mistyped."""
    part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _empty(stream: BinaryIO) -> int:
    stream.truncate(0)
    return stream.seek(0)


def _reason(wrong: requests.RequestException) -> str:
    import requests

    if wrong.response is not None:
        return f"the server answered {wrong.response.status_code} {wrong.response.reason}"
    if isinstance(wrong, requests.Timeout):
        return "the server does not answer"
    if isinstance(wrong, requests.ConnectionError):
        return f"no connection ({wrong})"
    return str(wrong)
