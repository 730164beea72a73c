"""Whether a failure means a full disk or too large a file, and which of several places is meant."""

from __future__ import annotations

import errno
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.errors import CalkdError, EnvironmentProblem
from calkd_edge.files.atomic import nearest_existing
from calkd_edge.files.machine_limits import machine_limit

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WORDS = re.compile(
    r"No space left|quota exceeded|\(os error 28\)|code: 28\b"  # safetensors, agents
    r"|File too large|\(os error 27\)|code: 27\b"
    r"|requested and \d+ written"  # numpy
    r"|PytorchStreamWriter|unexpected pos|file write failed"  # torch
)
"""Libraries tell of a short write in errors of their own."""


TOO_LARGE = re.compile(r"File too large|\(os error 27\)|code: 27\b")


@dataclass(frozen=True)
class Place:
    """A folder that is written to, and what to do when its disk is full."""

    folder: Path
    remedy: str

    @property
    def free_bytes(self) -> int:
        """Free space of its disk; 0 where nobody knows."""
        with suppress(OSError):
            return shutil.disk_usage(nearest_existing(self.folder)).free
        return 0


def store_place(root: Path) -> Place:
    """A store."""
    return Place(root, "Free space, or use another store (--store DIR), and run again: it resumes.")


def out_place(folder: Path) -> Place:
    """The folder of a run's results."""
    return Place(folder, "Free space, or name another folder (--out DIR), and run again: it resumes.")


def temporary_place() -> Place:
    """The folder of temporary files."""
    return Place(
        Path(tempfile.gettempdir()),
        "Free space, or name another folder for temporary files: set TMPDIR=DIR, and run again.",
    )


def full_disk(failure: BaseException, places: Sequence[Place], what: str = "") -> EnvironmentProblem | None:
    """The error for a failure that a full disk or a limit of the machine caused; None for any other failure.

    Args:
        failure: with what it came from.
        places: that were written to; a file that the failure names decides, else the least free space.
        what: was done, to begin the sentence with.
    """
    chain: list[BaseException] = []
    link: BaseException | None = failure
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    system = [item for item in chain if isinstance(item, OSError)]
    limits = [limit for limit in map(machine_limit, system) if limit is not None]
    if limits:
        return limits[0]
    if not any(item.errno in FULL for item in system) and not any(WORDS.search(str(item)) for item in chain):
        return None
    # A copy names its source first, and then its target.
    names = [Path(str(item.filename2 or item.filename)) for item in system if item.filename2 or item.filename]
    holding = [place for name in names for place in places if name.is_relative_to(place.folder)]
    # The longest of them: a store may lie below the folder of temporary files.
    place = max(holding, key=lambda item: len(str(item.folder)), default=None)
    place = place or min(places, key=lambda item: item.free_bytes)
    if _is_too_large(chain, place):
        return EnvironmentProblem(
            f"{what}a file under {place.folder} would exceed the largest size that is allowed",
            remedy="Raise the limit (ulimit -f unlimited), and run again. If there is none, the file system "
            "has one: use a folder on another.",
        )
    return EnvironmentProblem(f"{what}the disk under {place.folder} is full", remedy=place.remedy)


def _is_too_large(chain: Sequence[BaseException], place: Place) -> bool:
    """Whether a file met a limit on its size, where a library may not say why its write was short."""
    errors = {item.errno for item in chain if isinstance(item, OSError)}
    if errno.EFBIG in errors or any(TOO_LARGE.search(str(item)) for item in chain):
        return True
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    is_told = errors & set(FULL) or any("No space left" in str(item) for item in chain)
    return not is_told and limit != resource.RLIM_INFINITY and limit < place.free_bytes


@contextmanager
def naming_full_disk(*places: Place, what: str = "") -> Iterator[None]:
    """Within it, a failure that a full disk caused becomes an error that names the disk.

    Raises:
        EnvironmentProblem: a disk is full.
    """
    try:
        yield
    except CalkdError:
        raise
    except Exception as failure:  # each library has its own kind of error for a full disk
        problem = full_disk(failure, places, what)
        if problem is None:
            raise
        raise problem from failure
