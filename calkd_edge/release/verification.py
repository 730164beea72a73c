"""Reading a release: files against checksums, records against each other. No model is loaded."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.files.bounded import MOST_JSON_BYTES, Unreadable, parse_json, read_bounded
from calkd_edge.files.paths import check_path
from calkd_edge.files.zipped import opened_zip, pieces, read_member
from calkd_edge.records import Report
from calkd_edge.release.bundle import (
    BUNDLE_SCHEMA_VERSION,
    DOCUMENTS,
    MANIFEST,
    SUMS,
    FileFacts,
    is_safe,
    manifest_of,
    measured_files,
)
from calkd_edge.release.contents import BUNDLE, FILE, MODELS, SCORES, kind_of, read_report
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME
from calkd_edge.release.scores import MOST_SCORES_BYTES, read_scores

UPGRADE = "upgrade calkd-edge"
"""Ends the problem of a bundle that a later release of this package wrote."""


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
            remedy="Name the folder of a finished run, or a bundle: calkd-edge verify runs/NAME/bundle.zip",
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
        return [f"the bundle has schema version {version}, newer than {BUNDLE_SCHEMA_VERSION}: {UPGRADE}"]
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
        elif name in listed and archive.getinfo(name).file_size != listed[name].get("bytes"):
            problems.append(f"{name} was altered: its size is not the manifest's")
    if JSON_NAME in digests:
        problems += _contradictions(archive, manifest, digests)
    if SUMS in names:
        problems += _disagreements(archive, digests, listed)
    return problems


def _contradictions(
    archive: zipfile.ZipFile, manifest: Mapping[str, Any], digests: Mapping[str, str]
) -> list[str]:
    """Where the report says otherwise than the manifest or the files do."""
    try:
        report = read_report(read_member(archive, JSON_NAME, MOST_JSON_BYTES))
    except Unreadable as wrong:
        return [f"{JSON_NAME} cannot be read: {wrong}"]
    expected = json.loads(json.dumps(manifest_of(report, manifest["files"])))
    problems = (
        []
        if SCORES not in digests
        else _scores_problems(read_member(archive, SCORES, MOST_SCORES_BYTES), report)
    )
    problems += _verdict_problems(report)
    problems += [
        f"{MANIFEST} and {JSON_NAME} disagree on {key}"
        for key in expected
        if key not in ("schema_version", "files") and manifest.get(key) != expected[key]
    ]
    for row in measured_files(report):
        if row.file in digests and digests[row.file] != row.sha256:
            problems.append(f"{row.file} is not the file that was measured on {row.device}")
        elif row.file in digests and archive.getinfo(row.file).file_size != row.size_bytes:
            problems.append(f"{row.file} has not the size that {JSON_NAME} gives")
    return problems


def _scores_problems(source: Path | bytes, report: Report) -> list[str]:
    try:
        read_scores(source, report)
    except Unreadable as wrong:
        return [str(wrong)]
    return []


def _verdict_problems(report: Report) -> list[str]:
    """Where the verdict is not that of the gates: failed beats undecided beats passed."""
    outcomes = {gate.result for gate in report.gates}
    expected = "passed" if outcomes == {"passed"} else "undecided"
    if outcomes & {"failed", "unmeasured"}:
        expected = "failed"
    if report.verdict in (expected, "smoke"):
        return []
    return [f"{JSON_NAME} says {report.verdict}, and its gates say {expected}"]


def folder_contradictions(root: Path) -> list[str]:
    """Where a release's folder, whose checksums are right, contradicts its report or its bundle."""
    try:
        report = read_report(read_bounded(root / JSON_NAME))
    except Unreadable as wrong:
        return [f"{JSON_NAME} cannot be read: {wrong}"]
    rows = [row for row in report.measurements if row.quality is not None and row.is_released]
    problems = _scores_problems(root / SCORES, report) if kind_of(root / SCORES) == FILE else []
    problems += _verdict_problems(report)
    for file, digest in sorted({row.file: row.sha256 for row in rows}.items()):
        if not is_safe(file) or kind_of(root / MODELS / file) != FILE:
            problems.append(f"{MODELS}/{file} is missing: {JSON_NAME} has its measurements")
        elif sha256_of(root / MODELS / file) != digest:
            problems.append(f"{MODELS}/{file} is not the file that {JSON_NAME} has measurements of")
    if kind_of(root / BUNDLE) != FILE:
        return problems
    with opened_zip(root / BUNDLE) as archive:
        for name in archive.namelist():
            if name in {MANIFEST, SUMS, *DOCUMENTS} or "/" in name:  # golden inputs and outputs
                continue
            target = name if name in (JSON_NAME, HTML_NAME, SCORES) else f"{MODELS}/{name}"
            if kind_of(root / target) != FILE:
                problems.append(f"{target} is missing: {BUNDLE} has it")
            elif sha256_of(root / target) != _digest_of(archive, name):
                problems.append(f"{target} is not the file of that name in {BUNDLE}")
    return problems


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
