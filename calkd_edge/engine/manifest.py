"""The manifest of a published folder: what made it, and size and SHA-256 of each of its files.

`manifest.sha256` beside it holds the manifest's own SHA-256. A manifest says by the key `digest_in` that it
has one; those of earlier versions say nothing and are read without.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from calkd_edge.errors import StoreError
from calkd_edge.files import sha256_of, write_atomically
from calkd_edge.files.bounded import parse_json
from calkd_edge.files.machine_limits import naming_limits

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
MANIFEST_SCHEMA = 1


def write_manifest(folder: Path, facts: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the manifest and its digest: the last files of a folder that is published."""
    manifest = {"schema_version": MANIFEST_SCHEMA, "digest_in": DIGEST, "files": files, **facts}
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    write_atomically(folder / DIGEST, _digest_line(content))
    write_atomically(folder / MANIFEST, content)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a published folder.

    Raises:
        EnvironmentProblem: a limit of the machine; that is no damage.
        StoreError: a newer calkd-edge wrote it.
        ValueError: it is damaged, with what is wrong as a sentence.
    """
    try:
        with naming_limits():
            content = (folder / MANIFEST).read_bytes()
            digest = (folder / DIGEST).read_bytes() if (folder / DIGEST).exists() else None
        manifest = parse_json(content)
    except (OSError, ValueError) as broken:
        raise ValueError(f"{MANIFEST} is missing or is not JSON: {broken}") from broken
    if digest is not None and digest != _digest_line(content):
        raise ValueError(f"{MANIFEST} differs from its SHA-256 in {DIGEST}")
    if not isinstance(manifest, dict):
        raise ValueError(f"{MANIFEST} holds no facts")
    if digest is None and "digest_in" in manifest:
        raise ValueError(f"{DIGEST} is missing")
    version = manifest.get("schema_version")
    if version != MANIFEST_SCHEMA:
        raise StoreError(
            f"{folder / MANIFEST} has schema {str(version)[:40]}; this calkd-edge reads {MANIFEST_SCHEMA}",
            remedy="Use another store (--store DIR), or the calkd-edge that wrote it.",
        )
    _check_shape(manifest, folder.name)
    return manifest


def published_sha256(path: Path) -> str:
    """The SHA-256 that a file of a published folder had when it was published.

    Raises:
        StoreError: its folder's manifest is damaged or does not list it.
    """
    try:
        return str(read_manifest(path.parent)["files"][path.name]["sha256"])
    except (ValueError, KeyError) as broken:
        raise StoreError(
            f"the manifest of {path.parent} is damaged, or does not list {path.name}: {broken}",
            remedy=f"Remove the folder and run again: rm -r {path.parent}",
        ) from broken


def damage(folder: Path, *, hash_up_to_bytes: int | None = None) -> list[str]:
    """What is wrong with a published folder; files above `hash_up_to_bytes` are checked by size only.

    Raises:
        StoreError: a newer calkd-edge wrote it.
    """
    try:
        files = read_manifest(folder)["files"]
        problems = [_damage_of(folder / name, name, facts, hash_up_to_bytes) for name, facts in files.items()]
        known = {*files, MANIFEST, DIGEST}
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    except (ValueError, OSError) as broken:
        return [str(broken)]
    surplus = [f"{ascii(name)[1:-1]} is not in {MANIFEST}" for name in sorted(there - known)]
    return [problem for problem in problems if problem] + surplus


State = tuple[tuple[str, int, int, int, int], ...]


def state_of(folder: Path) -> State:
    """Name, size, times and number of each file: a write sets the time of change, which programs cannot."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    facts = ((path.name, path.lstat()) for path in files)
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in facts)


def _damage_of(path: Path, name: str, facts: Mapping[str, Any], hash_up_to_bytes: int | None) -> str:
    if not path.is_file():
        return f"{name} is missing"
    size = path.stat().st_size
    if size != facts["bytes"]:
        return f"{name} has {size} bytes instead of {facts['bytes']}"
    is_hashed = hash_up_to_bytes is None or size <= hash_up_to_bytes
    return f"{name} differs from its SHA-256" if is_hashed and sha256_of(path) != facts["sha256"] else ""


def _check_shape(manifest: Mapping[str, Any], fingerprint: str) -> None:
    """Refuse a manifest without the facts that others read, and one of another folder."""
    if manifest.get("fingerprint") != fingerprint:
        raise ValueError(f"{MANIFEST} is of another folder")
    try:
        datetime.fromisoformat(manifest["published_at"])
        float(manifest.get("seconds", 0.0))
        is_right = all(_is_file_entry(name, facts) for name, facts in manifest["files"].items())
    except (KeyError, TypeError, ValueError, AttributeError):
        is_right = False
    if not is_right:
        raise ValueError(f"{MANIFEST} has damaged entries")


def _is_file_entry(name: str, facts: Any) -> bool:
    parts = PurePosixPath(name).parts
    is_inside = bool(parts) and ".." not in parts and not name.startswith("/") and "\0" not in name
    return (
        is_inside
        and isinstance(facts, dict)
        and type(facts.get("bytes")) is int
        and re.fullmatch("[0-9a-f]{64}", str(facts.get("sha256"))) is not None
    )


def _digest_line(content: bytes) -> bytes:
    """As sha256sum writes it and checks it."""
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
