"""The store: published folders under their fingerprints, each there whole or not at all.

objects/ab/abcdef…   published, never changed again; manifest.json is written last
work/abcdef…         in progress: out (emptied at each start) and scratch (survives a kill)
locks/abcdef…        flock: the kernel frees it when a process dies
journal.jsonl        what happened when, one line an event
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from calkd_edge.engine.stage import Stage
from calkd_edge.errors import RecipeError, StoreError
from calkd_edge.files import sha256_of, write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1
HASHED_ON_REUSE_BYTES = 256 * 2**20
"""Files above this are checked by size when reused; `store check` hashes them all."""


@dataclass(frozen=True)
class WorkFolder:
    """Where a stage in progress may write."""

    out: Path
    scratch: Path


class Store:
    """A workspace of published folders.

    Args:
        root: the folder, made when absent.

    Raises:
        StoreError: it was written by a newer calkd-edge, or cannot be written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._checked: set[str] = set()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for part in ("objects", "work", "locks"):
                (self.root / part).mkdir(exist_ok=True)
            marker = self.root / "format"
            if not marker.exists():
                write_atomically(marker, f"{FORMAT}\n".encode())
            found = marker.read_text(encoding="utf-8").strip()
        except OSError as refused:
            raise StoreError(
                f"the store {self.root} cannot be used: {refused}", remedy="Choose another with --store DIR."
            ) from refused
        if found != str(FORMAT):
            raise StoreError(
                f"the store {self.root} has format {found or 'unknown'}, this calkd-edge knows {FORMAT}",
                remedy="Use another folder (--store DIR), or the calkd-edge that made it.",
            )

    def place(self, fingerprint: str) -> Path:
        """Where a published folder of this fingerprint lies or would lie."""
        return self.root / "objects" / fingerprint[:2] / fingerprint

    def published(self, stage: Stage) -> Path | None:
        """The stage's published folder, None when there is none.

        Its files are compared with the manifest when this store first looks at the folder.

        Raises:
            StoreError: a file was lost or changed since it was published.
        """
        place = self.place(stage.fingerprint)
        if not place.is_dir():
            return None
        if stage.fingerprint in self._checked:
            return place
        problems = self.problems(place, hash_up_to_bytes=HASHED_ON_REUSE_BYTES)
        if problems:
            raise StoreError(
                f"the published folder of {stage.name} is damaged: {problems[0]} ({place})",
                remedy=f"Remove it and run again: rm -r {place}",
            )
        self._checked.add(stage.fingerprint)
        return place

    def problems(self, place: Path, *, hash_up_to_bytes: int | None = None) -> list[str]:
        """What is wrong with a published folder; larger files than `hash_up_to_bytes` by size only."""
        if not _is_json(place / MANIFEST):
            return [f"{MANIFEST} is missing or is not JSON"]
        files = self.manifest(place).get("files", {})
        wrong = []
        for name, facts in files.items():
            path = place / name
            if not path.is_file():
                wrong.append(f"{name} is missing")
            elif path.stat().st_size != facts["bytes"]:
                wrong.append(f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}")
            elif (hash_up_to_bytes is None or facts["bytes"] <= hash_up_to_bytes) and (
                sha256_of(path) != facts["sha256"]
            ):
                wrong.append(f"{name} differs from its SHA-256")
        return wrong

    def manifest(self, place: Path) -> dict[str, Any]:
        """The manifest of a published folder.

        Raises:
            StoreError: it is unreadable or written by a newer calkd-edge.
        """
        try:
            found: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as broken:
            raise StoreError(
                f"{place / MANIFEST} cannot be read: {broken}", remedy=f"Remove the folder: rm -r {place}"
            ) from broken
        if found.get("schema_version") != MANIFEST_SCHEMA:
            raise StoreError(
                f"{place / MANIFEST} has schema {found.get('schema_version')}, known is {MANIFEST_SCHEMA}",
                remedy="Use another store (--store DIR), or the calkd-edge that made it.",
            )
        return found

    def begin(self, stage: Stage) -> WorkFolder:
        """An empty `out` and the surviving `scratch` of a stage; the caller holds its lock."""
        work = self.root / "work" / stage.fingerprint
        out, scratch = work / "out", work / "scratch"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        return WorkFolder(out, scratch)

    def publish(self, stage: Stage, work: WorkFolder, facts: Mapping[str, Any]) -> Path:
        """Hash and sync the files, write the manifest, and rename `out` to its final place.

        Args:
            stage: whose output this is.
            work: what `begin` returned.
            facts: further facts for the manifest (seconds, versions).
        """
        files = {}
        for path in sorted(work.out.rglob("*")):
            if path.is_file():
                _sync(path)
                files[str(path.relative_to(work.out))] = {
                    "sha256": sha256_of(path),
                    "bytes": path.stat().st_size,
                }
        manifest = {
            "schema_version": MANIFEST_SCHEMA,
            "stage": stage.name,
            "function": stage.path,
            "version": stage.version,
            "fingerprint": stage.fingerprint,
            "params": stage.params,
            "inputs": {role: source.fingerprint for role, source in stage.inputs.items()},
            "published_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "files": files,
            **facts,
        }
        write_atomically(work.out / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        place = self.place(stage.fingerprint)
        place.parent.mkdir(exist_ok=True)
        os.rename(work.out, place)
        _sync(place.parent)
        self.note("published", stage.name, stage.fingerprint)
        shutil.rmtree(work.out.parent, ignore_errors=True)
        return place

    def sweep(self, stage: Stage) -> None:
        """Remove what a kill between rename and clean-up left behind."""
        shutil.rmtree(self.root / "work" / stage.fingerprint, ignore_errors=True)

    def discard(self, stage: Stage) -> None:
        """Take a published folder and its scratch away, so that the stage runs anew."""
        place = self.place(stage.fingerprint)
        self._checked.discard(stage.fingerprint)
        if place.exists():
            self._take_away(place)
            self.note("discarded", stage.name, stage.fingerprint)
        self.sweep(stage)

    def _take_away(self, place: Path) -> None:
        """Remove a folder so that a kill on the way leaves none half there: renamed first."""
        trash = self.root / "work" / f"discarded-{place.name}-{time.time_ns()}"
        os.rename(place, trash)
        shutil.rmtree(trash, ignore_errors=True)

    @contextmanager
    def lock(self, stage: Stage) -> Iterator[None]:
        """Hold the stage's lock; waits while another process works on the very same stage."""
        with open(self.root / "locks" / stage.fingerprint, "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def note(self, event: str, name: str, fingerprint: str | None = None) -> None:
        """Append one line to the journal: an event of the stage, or of the step without a folder, `name`."""
        line = {
            "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "event": event,
            "stage": name,
            "fingerprint": fingerprint,
            "process": os.getpid(),
        }
        with open(self.root / "journal.jsonl", "a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def places(self) -> list[Path]:
        """Every published folder."""
        return sorted(path for path in self.root.glob("objects/*/*") if path.is_dir())

    def collect(self, keep: set[str]) -> tuple[int, int]:
        """Remove every published folder whose fingerprint is not in `keep`, and every work folder.

        What another process holds the lock of stays.

        Returns:
            (folders removed, bytes freed).
        """
        removed, freed = 0, 0
        doomed = [place for place in self.places() if place.name not in keep]
        doomed += (self.root / "work").iterdir()
        for place in doomed:
            if not self._held(place.name):
                freed += sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
                self._take_away(place)
                removed += 1
        return removed, freed

    def _held(self, fingerprint: str) -> bool:
        path = self.root / "locks" / fingerprint
        if not path.exists():
            return False
        with open(path, encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def existing_store(root: Path) -> Store:
    """The store in a folder, for whoever only reads it; creates none.

    Raises:
        RecipeError: the folder does not exist or is no store.
        StoreError: it was written by a newer calkd-edge, or cannot be used.
    """
    if not (root / "format").is_file():
        reason = "is not a store: it has no file 'format'" if root.exists() else "does not exist"
        raise RecipeError(
            f"the store {root} {reason}",
            remedy="Name an existing one with --store DIR. A run creates it: calkd-edge compress quickstart",
        )
    return Store(root)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
