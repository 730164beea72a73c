"""Pages, JUnit files and summaries that an option names: they are never a file of a release.

In scope: refusing and writing them. Out of scope: their content; the release itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import RecipeError
from calkd_edge.files import check_folder, write_atomically
from calkd_edge.files.bounded import Unreadable, read_bounded
from calkd_edge.files.full_disk import Place, full_disk
from calkd_edge.files.paths import check_path
from calkd_edge.files.zipped import opened_zip
from calkd_edge.release.bundle import MANIFEST, SUMS
from calkd_edge.release.contents import FILE, MODELS, MOST_SUMS_BYTES, OWN_NAMES, STAGED, kind_of, own_names

INPUTS = frozenset(
    {
        ".yaml",
        ".yml",
        ".json",
        ".onnx",
        ".tflite",
        ".engine",
        ".pth",
        ".pt",
        ".safetensors",
        ".npz",
        ".csv",
        ".py",
    }
)
"""A file with one of these suffixes that is there already is an input of somebody, never an older page."""


def check_output(path: Path, option: str, *, runs: Iterable[Path] = ()) -> None:
    """Refuse a file that cannot be written or is a release's, before the work that it is about.

    Args:
        path: need not exist; nothing is created.
        option: that names it, for the message.
        runs: folders that a release is about to be written into.

    Raises:
        RecipeError: no file can have that name, something else is there, such as a recipe, its folder cannot
            be written, or it is or would be a file of a release.
    """
    remedy = f"Name another file: {option} FILE"
    check_path(path, option)
    check_folder(path.parent, option, is_of_file=True)
    kind = kind_of(Path(os.path.realpath(path)))
    if kind not in ("", FILE):
        raise RecipeError(f"{option} {path}: it is {kind}", remedy=remedy)
    if _belongs_to_release(path, runs):
        raise RecipeError(
            f"{option} {path}: it belongs to a release, whose checksums would no longer hold", remedy=remedy
        )
    if kind == FILE and path.suffix.lower() in INPUTS:
        raise RecipeError(f"{option} {path}: a file of another kind is there already", remedy=remedy)


def write_output(path: Path, option: str, text: str, *, append: bool = False) -> None:
    """Write a file that an option names, whole or not at all; or append to what is there.

    Raises:
        RecipeError: the system does not let it be written.
        EnvironmentProblem: its disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if append:
            with path.open("ab") as file:
                file.write(text.encode())
        else:
            write_atomically(path, text.encode())
    except OSError as wrong:
        remedy = f"Name a file in another folder: {option} FILE"
        full = full_disk(wrong, [Place(path.parent, f"Free space, or name another file: {option} FILE")])
        if full is not None:
            raise full from wrong
        reason = wrong.strerror or str(wrong)
        raise RecipeError(f"{option} {path}: it cannot be written: {reason}", remedy=remedy) from wrong


def _belongs_to_release(path: Path, runs: Iterable[Path]) -> bool:
    """Whether a path is that of a bundle, or of a file that a release has or a run writes into its folder."""
    forms = {Path(os.path.abspath(path)), Path(os.path.realpath(path))}
    targets = {Path(os.path.realpath(run)) for run in runs}
    return any(_is_bundle(form) for form in forms) or any(
        _is_of_release(folder, form.relative_to(folder), is_run=folder in targets)
        for form in forms
        for folder in form.parents
    )


def _is_bundle(path: Path) -> bool:
    try:
        if kind_of(path) != FILE:
            return False
        with opened_zip(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, Unreadable):
        return False


def _is_of_release(folder: Path, inside: Path, *, is_run: bool) -> bool:
    try:
        own = own_names(folder)
        if str(inside) in own or str(inside) in _listed(folder):
            return True
    except OSError:  # a folder that must not be read
        return False
    if not own and not is_run:
        return False
    first, name = inside.parts[0], inside.name
    if len(inside.parts) > 1:
        return first == MODELS or first.startswith(STAGED)
    is_model = name.startswith("student.") and inside.suffix in {info.suffix for info in RUNTIMES.values()}
    return name in OWN_NAMES or is_model or inside.match("bundle*.zip") or name.startswith(STAGED)


def _listed(folder: Path) -> Iterator[str]:
    """Names in the checksums of a folder: those of an unpacked bundle are its files."""
    if kind_of(folder / SUMS) != FILE:
        return
    yield SUMS
    try:
        lines = read_bounded(folder / SUMS, MOST_SUMS_BYTES).decode(errors="replace").splitlines()
    except Unreadable:
        return
    yield from (name for _, _, name in (line.partition("  ") for line in lines))
