"""Files from which interrupted work resumes: each carries the SHA-256 of its content in its name.

`epoch-3.ckpt` becomes `epoch-3.SHA256.ckpt`, by one rename, so content and digest appear together. A file
that has changed since is not used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.digest import sha256_of

log = logging.getLogger(__name__)


def write_with_digest(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Write a file, complete or not at all, and return its path, which has the digest before the suffix.

    Args:
        path: without the digest.
        write: writes the content.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())  # otherwise a power cut may leave an empty file under the new name
        return temporary.replace(path.with_name(f"{path.stem}.{sha256_of(temporary)}{path.suffix}"))
    finally:
        temporary.unlink(missing_ok=True)


def has_its_digest(path: Path) -> bool:
    """Whether the content of a file has the digest in its name.

    Raises:
        OSError: it is not there or cannot be read.
    """
    return sha256_of(path) == Path(path.stem).suffix[1:]


def first_intact(paths: Iterable[Path]) -> Path | None:
    """The first file whose content has the digest in its name; the damaged ones before it are removed.

    Raises:
        EnvironmentProblem: one cannot be read, which is no sign of damage.
    """
    for path in paths:
        try:
            if has_its_digest(path):
                return path
        except FileNotFoundError:  # another process has removed it
            continue
        except OSError as failed:
            raise EnvironmentProblem(
                f"{path}, from which interrupted work continues, cannot be read: {failed.strerror or failed}",
                remedy=f"Let this user read it, and run the same line again. To do without it: rm {path}",
            ) from failed
        log.warning("%s is damaged and is not used: its content differs from its name", path)
        path.unlink(missing_ok=True)
    return None


def intact(path: Path) -> Path | None:
    """The intact file that `write_with_digest(path, ...)` wrote, if there is one."""
    return first_intact(sorted(path.parent.glob(f"{path.stem}.{'?' * 64}{path.suffix}")))
