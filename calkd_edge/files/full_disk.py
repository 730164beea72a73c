"""Whether a failure means a full disk, and which of several places is on it."""

from __future__ import annotations

import errno
import re
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
    r"|requested and \d+ written"  # numpy
    r"|PytorchStreamWriter|unexpected pos|file write failed"  # torch
)
"""Libraries tell of a short write in errors of their own."""


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
    return EnvironmentProblem(f"{what}the disk under {place.folder} is full", remedy=place.remedy)


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
