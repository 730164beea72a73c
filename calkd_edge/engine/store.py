"""The store: published folders under their fingerprints, each complete or absent.

objects/ab/abcdef…   published, never changed again; manifest.json is written last
work/abcdef…         in progress: out (emptied at each start) and scratch (survives a kill)
locks/abcdef…        flock: the kernel frees it when a process dies
runs/abcdef….json    the stages of a run, for `store gc`
nodes/               how several machines of a run meet (nodes.py)
journal.jsonl        one line per event, with its time
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from calkd_edge.engine import locks
from calkd_edge.engine.manifest import State, damage, read_manifest, state_of, write_manifest
from calkd_edge.engine.stage import Stage
from calkd_edge.errors import RecipeError, StoreError
from calkd_edge.files import sha256_of, write_atomically
from calkd_edge.files.atomic import sync

FORMAT = 1
DISCARDED = "discarded-"
"""Begins the names of folders that are being removed."""
HASHED_ON_REUSE_BYTES = 256 * 2**20
"""Larger files are checked by size when they are reused; `store check` hashes all files."""


@dataclass(frozen=True)
class WorkFolder:
    """The folders that a stage in progress may write."""

    out: Path
    scratch: Path


@dataclass(frozen=True)
class _Checked:
    """What a folder held when it was checked: its manifest, and what its files would show of a change."""

    manifest: dict[str, Any]
    state: State


class Store:
    """A workspace of published folders.

    Args:
        root: the folder; it is created if it does not exist.

    Raises:
        StoreError: a newer calkd-edge wrote it, or it cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self._checked: dict[str, _Checked] = {}
        try:
            self.root = root.resolve()
            self.root.mkdir(parents=True, exist_ok=True)
            for part in ("objects", "work", "locks"):
                (self.root / part).mkdir(exist_ok=True)
            marker = self.root / "format"
            if not marker.exists():
                write_atomically(marker, f"{FORMAT}\n".encode())
            written = marker.read_text(encoding="utf-8", errors="backslashreplace").strip()[:40]
        except (OSError, RuntimeError) as failed:  # a loop of links is a RuntimeError in Python 3.11
            raise StoreError(
                f"the store {root} cannot be used: {failed}",
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

        Its files are compared with the manifest when this store first looks at the folder, and again when
        any of them was written to since then.

        Raises:
            StoreError: a file is missing or has changed since it was published.
        """
        folder = self.path_of(stage.fingerprint)
        number, state = _inode(folder), state_of(folder)
        known = self._checked.pop(stage.fingerprint, None)
        if number is not None and known is not None and known.state == state:
            self._checked[stage.fingerprint] = known
            return folder
        if number is None:
            return None
        # A folder that was written to since it was checked is read whole, whatever its size.
        problems = self.problems(folder, hash_up_to_bytes=None if known else HASHED_ON_REUSE_BYTES)
        with suppress(ValueError):
            self._checked[stage.fingerprint] = _Checked(read_manifest(folder), state)
        if number != _inode(folder):  # another process has removed it meanwhile, or made it anew
            self._checked.pop(stage.fingerprint, None)
            return self.published(stage)
        if problems:
            self._checked.pop(stage.fingerprint, None)
            raise StoreError(
                f"the published folder of {stage.name} is damaged: {problems[0]} ({folder})",
                remedy=f"Remove it and run again: rm -r {folder}",
            )
        return folder

    def problems(self, folder: Path, *, hash_up_to_bytes: int | None = None) -> list[str]:
        """The damage of a published folder; files above `hash_up_to_bytes` are checked by size only."""
        return damage(folder, hash_up_to_bytes=hash_up_to_bytes)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """The manifest of a published folder.

        Raises:
            StoreError: it is damaged, or a newer calkd-edge wrote it.
        """
        if folder.name in self._checked:
            return self._checked[folder.name].manifest
        try:
            return read_manifest(folder)
        except ValueError as broken:
            raise StoreError(f"{folder}: {broken}", remedy=f"Remove the folder: rm -r {folder}") from broken

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
                sync(path)
                files[str(path.relative_to(work.out))] = {
                    "sha256": sha256_of(path),
                    "bytes": path.stat().st_size,
                }
        about = {
            "stage": stage.name,
            "function": stage.path,
            "version": stage.version,
            "fingerprint": stage.fingerprint,
            "params": stage.params,
            "inputs": {role: source.fingerprint for role, source in stage.inputs.items()},
            "published_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **facts,
        }
        write_manifest(work.out, about, files)
        folder = self.path_of(stage.fingerprint)
        folder.parent.mkdir(exist_ok=True)
        os.rename(work.out, folder)
        sync(folder.parent)
        self.note("published", stage.name, stage.fingerprint)
        shutil.rmtree(work.out.parent, ignore_errors=True)
        return folder

    def sweep(self, stage: Stage) -> None:
        """Remove files that remain after a kill between rename and clean-up."""
        shutil.rmtree(self.root / "work" / stage.fingerprint, ignore_errors=True)

    def discard(self, stage: Stage) -> None:
        """Remove a published folder and its scratch, so that the stage runs again."""
        folder = self.path_of(stage.fingerprint)
        if self.remove(folder):
            self.note("discarded", stage.name, stage.fingerprint)
        self.sweep(stage)

    def remove(self, folder: Path) -> bool:
        """Rename a folder, then remove it, so that a kill never leaves an incomplete folder.

        Returns:
            whether it was there: another process may have removed it.
        """
        trash = self.root / "work" / f"{DISCARDED}{folder.name}-{time.time_ns()}"
        self._checked.pop(folder.name, None)
        try:
            os.rename(folder, trash)
        except FileNotFoundError:
            return False
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def lock_file(self, fingerprint: str) -> Path:
        """The file by which the folder of a fingerprint is locked."""
        return self.root / "locks" / fingerprint

    @contextmanager
    def lock(self, stage: Stage) -> Iterator[None]:
        """Hold the stage's lock alone; wait while another process works on its folder or reads it."""
        with locks.exclusive(self.lock_file(stage.fingerprint), stage.name):
            yield

    @contextmanager
    def found_or_locked(self, stage: Stage) -> Iterator[Path | None]:
        """The stage's published folder, locked for reading; None while its lock is held alone, to make it.

        The folders of its inputs are locked for reading meanwhile.

        Raises:
            StoreError: the folder is damaged, or the folder of an input was removed.
        """
        with ExitStack() as stack:
            for source in stage.inputs.values():
                stack.enter_context(locks.shared(self.lock_file(source.fingerprint), source.name))
            lock_file = self.lock_file(stage.fingerprint)
            find = partial(self.published, stage)
            folder = stack.enter_context(locks.to_read_or_make(lock_file, find, stage.name))
            self.check(stage.inputs.values() if folder is None else ())
            yield folder

    def check(self, stages: Iterable[Stage]) -> None:
        """Refuse published folders that are damaged or not there any more.

        Raises:
            StoreError: the first of them.
        """
        for stage in stages:
            if self.published(stage) is None:
                raise StoreError(
                    f"the folder of stage {stage.name} was removed meanwhile",
                    remedy="Run the same line again: it is made again.",
                )

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


def existing_store(root: Path) -> Store:
    """The store in a folder, for whoever only reads it; creates none.

    Raises:
        RecipeError: the folder does not exist or is no store.
        StoreError: it was written by a newer calkd-edge, or cannot be used.
    """
    try:
        is_store = (root / "format").is_file()
        reason = "is not a store: it has no file 'format'" if root.exists() else "does not exist"
    except OSError as wrong:
        is_store, reason = False, f"cannot be read: {wrong.strerror or wrong}"
    if not is_store:
        raise RecipeError(
            f"the store {root} {reason}",
            remedy="Name an existing one with --store DIR. A run creates it: calkd-edge compress quickstart",
        )
    return Store(root)


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None
