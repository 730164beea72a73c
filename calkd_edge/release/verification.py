"""Reading a bundle: every file against its checksums. No model is loaded."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import Unreadable, parse_json
from calkd_edge.files.paths import check_path
from calkd_edge.files.zipped import opened_zip, pieces, read_member
from calkd_edge.release.bundle import BUNDLE_SCHEMA_VERSION, MANIFEST, SUMS, FileFacts, is_safe


def problems_of(bundle: str | Path) -> list[str]:
    """Every problem of a bundle, one sentence each; empty when each file is as it was written.

    Raises:
        RecipeError: there is no such file.
    """
    path = Path(bundle)
    check_path(path, "the bundle")
    if not path.is_file():
        raise RecipeError(
            f"{path}: {'a folder, not a bundle' if path.is_dir() else 'there is no such file'}",
            remedy="Name a bundle.zip: calkd-edge verify runs/NAME/bundle.zip",
        )
    try:
        with opened_zip(path) as archive:
            return _problems(archive)
    except (OSError, Unreadable) as error:
        return [f"{path}: not a readable bundle: {error}"]


def _problems(archive: zipfile.ZipFile) -> list[str]:
    names = archive.namelist()
    counts = Counter(names)
    if MANIFEST not in names:
        return [f"{MANIFEST} is missing: this is not a bundle"]
    try:
        manifest: Any = parse_json(read_member(archive, MANIFEST))
        version, listed = manifest["schema_version"], manifest["files"]
    except (Unreadable, KeyError, TypeError):
        return [f"{MANIFEST} is not readable as a bundle's manifest"]
    if not isinstance(listed, dict) or not all(isinstance(facts, dict) for facts in listed.values()):
        return [f"{MANIFEST} is not readable as a bundle's manifest"]
    if not isinstance(version, int) or version > BUNDLE_SCHEMA_VERSION:
        return [
            f"the bundle has schema version {version}, newer than {BUNDLE_SCHEMA_VERSION}: upgrade calkd-edge"
        ]
    problems = [f"{name} is in the bundle twice" for name, count in sorted(counts.items()) if count > 1]
    problems += [f"{name!r} cannot be the name of a file in a bundle" for name in names if not is_safe(name)]
    problems += [f"{name} is missing" for name in sorted({*listed, SUMS} - set(names))]
    problems += [
        f"{name} is surplus: the manifest does not list it" for name in sorted(_surplus(names, listed))
    ]
    digests = {name: _digest_of(archive, name) for name in sorted((set(listed) | {MANIFEST}) & set(names))}
    for name, digest in digests.items():
        if name in listed and digest != listed[name].get("sha256"):
            problems.append(f"{name} was altered: its SHA-256 is not the manifest's")
    problems += _unmeasured(manifest.get("measured", []), digests)
    if SUMS in names:
        problems += _disagreements(archive, digests, listed)
    return problems


def _unmeasured(measured: object, digests: Mapping[str, str]) -> list[str]:
    """Files that are not the ones whose measurements the manifest names; older bundles name none."""
    if not isinstance(measured, list) or not all(isinstance(row, dict) for row in measured):
        return [f"{MANIFEST} is not readable as a bundle's manifest"]
    return [
        f"{row.get('file')} is not the file that was measured on {row.get('device')}"
        for row in measured
        if digests.get(str(row.get("file"))) != row.get("sha256")
    ]


def _surplus(names: list[str], listed: Mapping[str, FileFacts]) -> set[str]:
    return set(names) - set(listed) - {MANIFEST, SUMS}


def _digest_of(archive: zipfile.ZipFile, name: str) -> str:
    try:
        total = hashlib.sha256()
        for piece in pieces(archive, name):
            total.update(piece)
        return total.hexdigest()
    except Unreadable:
        return "unreadable"


def _disagreements(
    archive: zipfile.ZipFile, digests: Mapping[str, str], listed: Mapping[str, FileFacts]
) -> list[str]:
    try:
        lines = read_member(archive, SUMS).decode().splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    except (Unreadable, UnicodeDecodeError):
        return [f"{SUMS} was altered"]
    expected = {name: facts.get("sha256") for name, facts in listed.items()} | {
        MANIFEST: digests.get(MANIFEST)
    }
    return [] if sums == expected else [f"{SUMS} and {MANIFEST} disagree: one of them was altered"]
