"""What lies in the folder of a release: which files a release put there, which it did not, and what is odd.

In scope: looking. Out of scope: writing, removing.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.files.bounded import Unreadable, bounded_json, parse_json, read_bounded
from calkd_edge.files.zipped import opened_zip, read_member
from calkd_edge.records import Report
from calkd_edge.release.bundle import MANIFEST, SUMS, is_safe
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME

MODELS, BUNDLE, LOG, SCORES = "models", "bundle.zip", "log.txt", "scores.npz"
STAGED = ".calkd-release-"
"""Begins the names of what a run keeps beside a release while it replaces it."""

MOST_SUMS_BYTES = 4 << 20
FILE, FOLDER = "a file", "a folder"
OWN_NAMES = {**dict.fromkeys((SUMS, JSON_NAME, HTML_NAME, SCORES, BUNDLE, LOG), FILE), MODELS: FOLDER}
"""What a run writes into its folder."""

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}
_WEIGHTS = {".bin", ".ckpt", ".data", ".h5", ".pb", ".plan", ".pt", ".pth", ".safetensors", ".trt"}
"""Suffixes of models and their data that no release writes, beside those of RUNTIMES."""


def kind_of(path: Path) -> str:
    """What lies at a path, links not followed; empty if nothing does."""
    try:
        return _KINDS.get(stat.S_IFMT(path.lstat().st_mode), "no file")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def read_sums(path: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files of a release, as its SHA256SUMS lists them.

    Raises:
        Unreadable: it is no regular file, or a line is none of a release's.
        OSError: it does not exist, or it must not be read.
    """
    if kind_of(path) not in ("", FILE):
        raise Unreadable(f"it is {kind_of(path)}")
    try:
        lines = read_bounded(path, MOST_SUMS_BYTES).decode().split("\n")
    except UnicodeDecodeError:
        raise Unreadable("its text is not UTF-8") from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums or not _is_name(match[2]):
            raise Unreadable(f"its line {number} names no file of a release: {line[:80]!r}")
        sums[match[2]] = match[1]
    return sums


def _is_name(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    inside = folder == MODELS and is_safe(file)
    return name in (JSON_NAME, HTML_NAME, SCORES, BUNDLE) or inside


def odd(root: Path) -> list[str]:
    """Where a folder has something else than a release has there, such as "report.json is a link"."""
    wanted = dict(OWN_NAMES)
    if kind_of(root / MODELS) == FOLDER:
        wanted |= {f"{MODELS}/{path.name}": FILE for path in _models(root / MODELS) if path.suffix in _ran()}
    kinds = {name: kind_of(root / name) for name in wanted}
    return [f"{name} is {kinds[name]}" for name in wanted if kinds[name] not in ("", wanted[name])]


def surplus(root: Path, listed: Collection[str]) -> list[str]:
    """Names of reports, bundles and models in a folder that are not listed."""
    there = [path for name in (JSON_NAME, HTML_NAME, SCORES) for path in root.glob(name)]
    there += root.glob("bundle*.zip")
    there += (path for path in root.glob("student.*") if path.suffix in _ran())
    if kind_of(root / MODELS) == FOLDER:
        there += (path for path in (root / MODELS).rglob("*") if path.suffix in _ran() | _WEIGHTS)
    return sorted({str(path.relative_to(root)) for path in there} - set(listed))


def own_names(root: Path) -> set[str]:
    """Names of the files that an earlier release put into a folder, finished or cut; they may be gone."""
    try:
        listed = read_sums(root / SUMS)
        if _is_own(root, listed):
            return {SUMS, *listed}
    except (OSError, Unreadable):
        pass
    return {name for _, names in journals(root) for name in names} | _named_by_report(root)


def check_not_unpacked(folder: Path) -> None:
    """Refuse the folder that a bundle was unpacked into: a release is its zip, or the folder of its run.

    Raises:
        RecipeError: it is one.
    """
    has_files = all(kind_of(folder / name) == FILE for name in (MANIFEST, SUMS, JSON_NAME))
    if has_files and not kind_of(folder / MODELS) and not kind_of(folder / BUNDLE):
        raise RecipeError(
            f"{folder} is an unpacked bundle, and no folder of a run",
            remedy="Name the bundle.zip that it was unpacked from. Its files can be compared with their "
            f"checksums by: cd {shlex.quote(str(folder))} && sha256sum -c {SUMS}",
        )


def journals(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """What killed runs left while they replaced a release, each with the names that are theirs."""
    for path in sorted(root.glob(f"{STAGED}*")):
        try:
            names = set(read_sums(path / SUMS if path.is_dir() else path))
        except (OSError, Unreadable):  # killed before it moved anything
            names = set()
        yield path, names


def _models(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def _ran() -> set[str]:
    return {info.suffix for info in RUNTIMES.values()}  # those of added runtimes too


def _is_own(root: Path, listed: dict[str, str]) -> bool:
    """Whether a list of checksums is a release's: another project's may list a report of its own."""
    if not {JSON_NAME, HTML_NAME} <= listed.keys():
        return False
    path = root / JSON_NAME
    if kind_of(path) != FILE or sha256_of(path) != listed[JSON_NAME]:  # damaged
        return True
    try:
        tree: Any = parse_json(read_bounded(path))
    except Unreadable:
        return False
    return isinstance(tree, dict) and "recipe" in tree


def read_report(content: bytes) -> Report:
    """A report from its text.

    Raises:
        Unreadable: it is none.
    """
    try:
        return Report.model_validate_json(bounded_json(content))
    except ValidationError as wrong:
        key = ".".join(map(str, wrong.errors()[0]["loc"]))
        raise Unreadable(f"it is no report: {key}: {wrong.errors()[0]['msg']}") from None


def _named_by_report(root: Path) -> set[str]:
    """The names that a report without checksums speaks for."""
    path = root / JSON_NAME
    try:
        content = read_bounded(path) if kind_of(path) == FILE else b""
        rows = read_report(content).measurements
    except (OSError, Unreadable):
        return set()
    prefixes = tuple(f"{row.model}.{row.precision}." for row in rows if row.is_released)
    names = {SUMS, JSON_NAME, HTML_NAME} | ({SCORES} if _has_scores(root / SCORES) else set())
    if kind_of(root / MODELS) == FOLDER:
        models = [item.name for item in _models(root / MODELS) if item.name.startswith(prefixes)]
        names |= {f"{MODELS}/{name}" for name in models}
    try:
        if kind_of(root / BUNDLE) == FILE:
            with opened_zip(root / BUNDLE) as archive:
                names |= {BUNDLE} if read_member(archive, JSON_NAME, len(content)) == content else set()
    except (OSError, Unreadable):  # no bundle of this release
        pass
    return names


def _has_scores(path: Path) -> bool:
    """Whether a file has the arrays of a release's scores."""
    try:
        if kind_of(path) != FILE:
            return False
        with opened_zip(path) as archive:
            return "images/pixels.npy" in archive.namelist()
    except (OSError, Unreadable):
        return False
