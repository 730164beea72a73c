"""Collection: which folders of a store belong together, and the removal of all others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calkd_edge.engine import locks
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import DISCARDED, Store
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files import write_atomically
from calkd_edge.files.bounded import parse_json, read_bounded


@dataclass(frozen=True)
class Collected:
    """How many folders a collection removed, how many bytes that freed, and who uses what was left."""

    removed: int
    freed_bytes: int
    in_use: tuple[str, ...]


def remember_run(store: Store, name: str, chief: Stage, stages: Iterable[Stage]) -> None:
    """Note the stages of a run, so that a collection that keeps `chief` keeps all of them.

    Args:
        store: of the stages.
        name: of the recipe.
        chief: the stage that the run is about: the student's training.
        stages: of the run, those of added devices among them.
    """
    fingerprints = sorted({stage.fingerprint for stage in stages})
    run = {"name": name, "chief": chief.fingerprint, "fingerprints": fingerprints}
    digest = hashlib.sha256("".join(fingerprints).encode()).hexdigest()
    write_atomically(store.root / "runs" / f"{digest}.json", json.dumps(run, indent=1).encode())


def collect(store: Store, keep: set[str]) -> Collected:
    """Remove every published folder that is not kept, and all work from which no kept stage resumes.

    A folder that another process makes or reads stays.

    Args:
        store: to reduce.
        keep: fingerprints; those of noted runs whose chief stage is among them are kept too.

    Raises:
        EnvironmentProblem: the note of a run cannot be read.
    """
    kept = _with_runs(store, keep)
    doomed = [(folder.name, folder) for folder in store.folders() if folder.name not in kept]
    doomed += _unneeded_work(store, kept)
    removed, freed, in_use = 0, 0, []
    for fingerprint, folder in doomed:
        lock_file = store.lock_file(fingerprint)
        with locks.exclusive_now(lock_file) as is_free:
            size = _bytes_in(folder) if is_free else 0
            if not is_free:
                in_use.append(f"{fingerprint[:12]}: {locks.holders(lock_file)}")
            elif store.remove(folder):
                removed, freed = removed + 1, freed + size
    return Collected(removed, freed, tuple(dict.fromkeys(in_use)))


def _unneeded_work(store: Store, kept: set[str]) -> Iterator[tuple[str, Path]]:
    """(fingerprint, folder) of the work from which no kept stage resumes; what was to be removed goes."""
    for work in sorted((store.root / "work").iterdir()):
        if work.name.startswith(DISCARDED):
            shutil.rmtree(work, ignore_errors=True)
        elif work.name not in kept or store.path_of(work.name).exists():
            yield work.name, work
        elif _bytes_in(work / "out"):  # the next start empties it
            yield work.name, work / "out"


def _with_runs(store: Store, keep: set[str]) -> set[str]:
    """`keep` with all stages of the runs whose chief stage is in it; the notes of other runs are removed."""
    kept = set(keep)
    for path in sorted(store.root.glob("runs/*.json")):
        try:
            run: Any = parse_json(read_bounded(path))
            chief, fingerprints = str(run["chief"]), {str(one) for one in run["fingerprints"]}
        except FileNotFoundError:  # another process has removed it
            continue
        except OSError as failed:
            raise EnvironmentProblem(
                f"{path}, which names the folders of a run, cannot be read: {failed.strerror or failed}",
                remedy="Let this user read it, and run the same line again.",
            ) from failed
        except (ValueError, KeyError, TypeError):  # damaged: it is only a note
            chief, fingerprints = "", set()
        if chief in keep:
            kept |= fingerprints
        else:
            path.unlink(missing_ok=True)
    return kept


def _bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder that may vanish meanwhile."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(parent, name)).st_size
    return size
