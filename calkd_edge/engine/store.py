"""The store: published folders under their fingerprints, each complete or absent.

objects/ab/abcdef…   published, never changed again; manifest.json is written last
work/abcdef…         in progress: out (emptied at each start) and scratch (survives a kill)
locks/abcdef…        flock: the kernel frees it when a process dies
journal.jsonl        one line per event, with its time
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
"""Larger files are checked by size when they are reused; `store check` hashes all files."""


@dataclass(frozen=True)
class WorkFolder:
    """The folders that a stage in progress may write."""

    out: Path
    scratch: Path


class Store:
    """A workspace of published folders.

    Args:
        root: the folder; it is created if it does not exist.

    Raises:
        StoreError: a newer calkd-edge wrote it, or it cannot be written.
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
            written = marker.read_text(encoding="utf-8").strip()
        except OSError as failed:
            raise StoreError(
                f"the store {self.root} cannot be used: {failed}",
                remedy="Choose another folder: --store DIR.",
            ) from failed
        if written != str(FORMAT):
            raise StoreError(
                f"the store {self.root} has format {written or 'unknown'}; this calkd-edge reads {FORMAT}",
                remedy="Use another folder (--store DIR), or the calkd-edge that wrote it.",
            )

    def path_of(self, fingerprint: str) -> Path:
        """The path of the published folder of a fingerprint, whether or not it exists."""
        return self.root / "objects" / fingerprint[:2] / fingerprint

    def published(self, stage: Stage) -> Path | None:
        """The stage's published folder, None when there is none.

        Its files are compared with the manifest when this store first looks at the folder.

        Raises:
            StoreError: a file is missing or has changed since it was published.
        """
        folder = self.path_of(stage.fingerprint)
        if not folder.is_dir():
            return None
        if stage.fingerprint in self._checked:
            return folder
        problems = self.problems(folder, hash_up_to_bytes=HASHED_ON_REUSE_BYTES)
        if problems:
            raise StoreError(
                f"the published folder of {stage.name} is damaged: {problems[0]} ({folder})",
                remedy=f"Remove it and run again: rm -r {folder}",
            )
        self._checked.add(stage.fingerprint)
        return folder

    def problems(self, folder: Path, *, hash_up_to_bytes: int | None = None) -> list[str]:
        """The damage of a published folder; files above `hash_up_to_bytes` are checked by size only."""
        if not _is_json(folder / MANIFEST):
            return [f"{MANIFEST} is missing or is not JSON"]
        files = self.manifest(folder).get("files", {})
        problems = []
        for name, facts in files.items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != facts["bytes"]:
                problems.append(f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}")
            elif (hash_up_to_bytes is None or facts["bytes"] <= hash_up_to_bytes) and (
                sha256_of(path) != facts["sha256"]
            ):
                problems.append(f"{name} differs from its SHA-256")
        return problems

    def manifest(self, folder: Path) -> dict[str, Any]:
        """The manifest of a published folder.

        Raises:
            StoreError: it is unreadable, or a newer calkd-edge wrote it.
        """
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as broken:
            raise StoreError(
                f"{folder / MANIFEST} cannot be read: {broken}", remedy=f"Remove the folder: rm -r {folder}"
            ) from broken
        if manifest.get("schema_version") != MANIFEST_SCHEMA:
            raise StoreError(
                f"{folder / MANIFEST} has schema {manifest.get('schema_version')}; "
                f"this calkd-edge reads {MANIFEST_SCHEMA}",
                remedy="Use another store (--store DIR), or the calkd-edge that wrote it.",
            )
        return manifest

    def begin(self, stage: Stage) -> WorkFolder:
        """The work folder of a stage: `out` is empty, `scratch` survives; the caller holds the lock."""
        work = self.root / "work" / stage.fingerprint
        out, scratch = work / "out", work / "scratch"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        return WorkFolder(out, scratch)

    def publish(self, stage: Stage, work: WorkFolder, facts: Mapping[str, Any]) -> Path:
        """Hash and sync the files, write the manifest, and rename `out` to its final path.

        Args:
            stage: the stage that wrote the output.
            work: the result of `begin`.
            facts: more facts for the manifest (seconds, versions).
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
        folder = self.path_of(stage.fingerprint)
        folder.parent.mkdir(exist_ok=True)
        os.rename(work.out, folder)
        _sync(folder.parent)
        self.note("published", stage.name, stage.fingerprint)
        shutil.rmtree(work.out.parent, ignore_errors=True)
        return folder

    def sweep(self, stage: Stage) -> None:
        """Remove files that remain after a kill between rename and clean-up."""
        shutil.rmtree(self.root / "work" / stage.fingerprint, ignore_errors=True)

    def discard(self, stage: Stage) -> None:
        """Remove a published folder and its scratch, so that the stage runs again."""
        folder = self.path_of(stage.fingerprint)
        self._checked.discard(stage.fingerprint)
        if folder.exists():
            self._remove(folder)
            self.note("discarded", stage.name, stage.fingerprint)
        self.sweep(stage)

    def _remove(self, folder: Path) -> None:
        """Rename a folder, then remove it, so that a kill never leaves an incomplete folder."""
        trash = self.root / "work" / f"discarded-{folder.name}-{time.time_ns()}"
        os.rename(folder, trash)
        shutil.rmtree(trash, ignore_errors=True)

    @contextmanager
    def lock(self, stage: Stage) -> Iterator[None]:
        """Hold the stage's lock; wait while another process works on the same stage."""
        with open(self.root / "locks" / stage.fingerprint, "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)

    def note(self, event: str, name: str, fingerprint: str | None = None) -> None:
        """Append a line to the journal: an event of the stage `name`, or of a step without a folder."""
        line = {
            "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "event": event,
            "stage": name,
            "fingerprint": fingerprint,
            "process": os.getpid(),
        }
        with open(self.root / "journal.jsonl", "a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def folders(self) -> list[Path]:
        """Every published folder."""
        return sorted(path for path in self.root.glob("objects/*/*") if path.is_dir())

    def collect(self, keep: set[str]) -> tuple[int, int]:
        """Remove every published folder whose fingerprint is not in `keep`, and every work folder.

        A folder whose lock another process holds stays.

        Returns:
            (folders removed, bytes freed).
        """
        removed, freed = 0, 0
        doomed = [folder for folder in self.folders() if folder.name not in keep]
        doomed += (self.root / "work").iterdir()
        for folder in doomed:
            if not self._held(folder.name):
                freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                self._remove(folder)
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
