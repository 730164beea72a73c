"""What the folders of a data set mean: classes, parts such as train/ and test/, or neither.

In scope: names of folders and how they lie in each other. Out of scope: the images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files.machine_limits import machine_limit

EXPECTED = (
    "Expected: DIR/<class>/<image files>, or DIR/train/<class>/... and DIR/test/<class>/... "
    "(DIR/val is the test part if there is no DIR/test)."
)

Part = Literal["train", "validation", "test"]

PART_NAMES: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
"""Words that name a part, in any case."""

_ADDED = {"", "set", "data", "dataset", "split", "seg", "image", "images", "img", "imgs", "folder", "part"}
"""Words that such a name may carry besides: seg_train, test-set, ValImages, train2017."""

SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders that an operating system leaves; hidden ones are left out as well."""

_DEEPEST = 4
"""Folders that contain nothing but one other folder, at most."""


@dataclass(frozen=True)
class Layout:
    """Where the images of each class and part are.

    Attributes:
        train: (class, folder), sorted; a class may have several folders.
        test: likewise of the test part; empty if there is none.
        parts: what the folders were read as, in words.
        skipped: (folder relative to the root, reason).
    """

    train: tuple[tuple[str, Path], ...]
    test: tuple[tuple[str, Path], ...]
    parts: str
    skipped: tuple[tuple[str, str], ...]


def part_of(name: str) -> Part | None:
    """The part that a folder's name stands for, in any case; None for any other name.

    Example:
        >>> part_of("Testing"), part_of("seg_train"), part_of("valid"), part_of("trains")
        ('test', 'train', 'validation', None)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[^a-z]+", spaced.casefold())
    words = [re.sub(r"^(\w+?)(?:sets?|data|images?)$", r"\1", word) for word in words]
    parts = {PART_NAMES[word] for word in words if word in PART_NAMES}
    others = {word for word in words if word not in PART_NAMES}
    return parts.pop() if len(parts) == 1 and others <= _ADDED else None


def layout_of(root: Path) -> Layout:
    """Read the folders under `root`.

    Raises:
        RecipeError: they can be read in two ways, or as none.
        EnvironmentProblem: a folder cannot be read.
    """
    with refusing_unreadable():
        return _layout_of(root)


@contextmanager
def refusing_unreadable() -> Iterator[None]:
    """Within it, a folder that cannot be read is an error: its images would be missing without a word.

    Raises:
        EnvironmentProblem: naming the folder.
    """
    try:
        yield
    except OSError as failed:
        raise machine_limit(failed) or EnvironmentProblem(
            f"the folder of images cannot be read completely: {failed.filename}: {failed.strerror}",
            remedy="Let this user read it (its owner can: chmod -R a+rX FOLDER), or move it elsewhere.",
        ) from failed


def _layout_of(root: Path) -> Layout:
    skipped: list[tuple[str, str]] = []
    folder = _inner(root)
    below = "" if folder == root else f"{folder.relative_to(root).as_posix()}/: "
    folders = _folders(folder, root, skipped)
    parts = {entry: part_of(entry.name) for entry in folders}
    if any(part == "train" and _folders(entry, root) for entry, part in parts.items()):
        train, test, words = _by_part(folder, parts, root, skipped)
    elif _classes_hold_parts(folders, root):
        train, test, words = _parts_in_classes(folders, root)
    else:
        _refuse_alike(folders, root)
        train, test, words = (
            [(entry.name, entry) for entry in folders],
            [],
            "one folder a class, no test part",
        )
    return Layout(tuple(sorted(train)), tuple(sorted(test)), f"{below}{words}", tuple(skipped))


def _inner(root: Path) -> Path:
    """The folder below `root` that is not alone in its parent: archives often wrap everything once more."""
    folder, part = root, part_of(root.name)
    for _ in range(_DEEPEST):
        inside = _folders(folder, root)
        if len(inside) != 1 or part_of(inside[0].name) not in (None, part) or _has_files(folder):
            break
        if len(_folders(inside[0], root)) == 0:
            break
        folder = inside[0]
    return folder


def _by_part(
    folder: Path, parts: Mapping[Path, Part | None], root: Path, skipped: list[tuple[str, str]]
) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]], str]:
    """(class, folder) of the training and of the test part, and a description of both."""
    _refuse_class_named_train(parts)
    named: dict[Part, list[Path]] = {"train": [], "validation": [], "test": []}
    for entry, part in parts.items():
        classes = _folders(entry, root)
        if part is None:
            skipped.append((_relative(entry, root), "a folder beside train/ that is none of test, val"))
        elif not classes and _has_files(entry):
            skipped.append((_relative(entry, root), "images without class folders"))
        else:
            named[part].append(entry)
    validation, test = named["validation"], named["test"]
    train = named["train"] + (validation if test else [])
    words = f"{_slashed(named['train'])}"
    if test:
        words += "".join(f", {entry.name}/ added to it" for entry in validation) + f"; {_slashed(test)}"
    elif validation:
        test, rest = validation[:1], validation[1:]
        train += rest
        words += f"; {test[0].name}/ as the test part"
    else:
        words += ", no test part"
    return _classes_in(train, root, skipped), _classes_in(test, root, skipped), words


def _classes_in(parts: Iterable[Path], root: Path, skipped: list[tuple[str, str]]) -> list[tuple[str, Path]]:
    return [(entry.name, entry) for part in parts for entry in _folders(_inner(part), root, skipped)]


def _classes_hold_parts(folders: Sequence[Path], root: Path) -> bool:
    """Whether each class folder contains train/, test/ and the like, and nothing else."""
    inside = [[part_of(entry.name) for entry in _folders(folder, root)] for folder in folders]
    return len(folders) > 1 and all("train" in parts and None not in parts for parts in inside)


def _parts_in_classes(
    folders: Sequence[Path], root: Path
) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]], str]:
    folders_of: dict[Part, list[tuple[str, Path]]] = {"train": [], "validation": [], "test": []}
    for folder in folders:
        for entry in _folders(folder, root):
            part = part_of(entry.name)
            if part is not None:
                folders_of[part].append((folder.name, entry))
    train, test = folders_of["train"], folders_of["test"]
    if test:
        train = train + folders_of["validation"]
    else:
        test = folders_of["validation"]
    return train, test, "train and test folders inside each class folder"


def _refuse_class_named_train(parts: Mapping[Path, Part | None]) -> None:
    """Refuse train/ with folders inside beside several folders of images: a part, or a class of that name?"""
    others = [entry for entry, part in parts.items() if part is None and _has_files(entry)]
    if len(others) > 1 and all(part in (None, "train") for part in parts.values()):
        names = ", ".join(f"{entry.name}/" for entry in others[:3])
        train = next(entry for entry, part in parts.items() if part == "train")
        raise RecipeError(
            f"data.root: {train.name}/ contains folders and stands beside folders of images ({names}): it "
            "may be the training part or a class",
            remedy=f"If it is a class, move its images directly into {train.name}/. If it is the training "
            f"part, move the folders beside it elsewhere. {EXPECTED}",
        )


def _refuse_alike(folders: Sequence[Path], root: Path) -> None:
    """Refuse folders with the same folders inside: they are parts or folds of one set, hardly classes."""
    inside = {
        folder: {entry.name for entry in _folders(folder, root)}
        for folder in folders
        if not _has_files(folder)
    }
    sets = [names for names in inside.values() if len(names) > 1]
    if len(sets) < 2 or len(sets) < len(folders):
        return
    common = set.intersection(*sets)
    if len(common) > 1:
        raise RecipeError(
            f"data.root: {_slashed(folders[:4])} each contain {_slashed(sorted(common)[:3])}: they look like "
            "parts of one data set, such as folds or domains, and not like classes",
            remedy="Name the parts train and test (and val). If the outer folders are the classes, move "
            f"the images directly into them. {EXPECTED}",
        )


def _folders(folder: Path, root: Path, skipped: list[tuple[str, str]] | None = None) -> list[Path]:
    """Folders inside, sorted, without links that lead back into `root`."""
    folders = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)  # whose is_dir is false for a link to itself; that of an entry raises
        if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS or not path.is_dir():
            continue
        if leads_back(path, root):
            if skipped is not None:
                skipped.append((_relative(path, root), LEADS_BACK))
            continue
        folders.append(path)
    return folders


LEADS_BACK = "a link to a folder of the same data set, not followed"


def leads_back(folder: Path, root: Path) -> bool:
    """Whether a link to a folder leads into `root` or above itself: images would count twice, or for ever."""
    if not folder.is_symlink():
        return False
    target, top = folder.resolve(), root.resolve()
    inside = target == top or top in target.parents
    return inside or any(target == parent.resolve() for parent in folder.parents)


def _has_files(folder: Path) -> bool:
    """Whether visible files lie directly in the folder."""
    with os.scandir(folder) as entries:
        return any(_is_content(entry.name) and Path(entry.path).is_file() for entry in entries)


def _is_content(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() not in NOTES


NOTES = frozenset(
    {".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".pdf", ".ini", ".db", ".tsv"}
)
"""Suffixes of files that accompany a data set and are no images; they are listed, without a warning."""


def _slashed(names: Iterable[Path | str]) -> str:
    return ", ".join(f"{name.name if isinstance(name, Path) else name}/" for name in names)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
