"""A folder of images with one subfolder per class, the usual form of a user's own images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.data.pixels import Resize, array_from_image, decode_image, image_suffixes, resized
from calkd_edge.data.source import ImageArray, ImageShape, Progress, Source
from calkd_edge.errors import RecipeError

LAYOUT = (
    "Expected: DIR/<class>/<image files>, or DIR/train/<class>/... and DIR/test/<class>/... "
    "(DIR/val is the test part if there is no DIR/test)."
)
RESIZE_NOTES = {"crop": "middle square resized", "pad": "resized between black bars", "stretch": "stretched"}


@dataclass(frozen=True)
class _Scan:
    """Class names; (relative path, label, is test, bytes) of each image, sorted; skipped files."""

    classes: tuple[str, ...]
    images: tuple[tuple[str, int, bool, int], ...]
    skipped: tuple[tuple[str, str], ...]
    parts: str


class ImageFolder:
    """Images in one folder per class, optionally under train/ and test/ (or val/); folders name the classes.

    Hidden files are ignored. Files that are not images, and links to folders, which are not followed, are
    listed as skipped. Without a test part, `prepare` splits one off.

    Args:
        root: the folder; required.
        image_size: edge of the square input of the model, in pixels.
        resize: crop keeps the middle square, pad keeps the complete image between black bars, stretch ignores
            proportions.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        image_size: Annotated[int, Field(ge=16, le=1024)] = 224,
        resize: Resize = "crop",
    ) -> None:
        self.root = None if root is None else root.expanduser()
        self.image_size = image_size
        self.resize: Resize = resize
        self._scanned: _Scan | None = None

    def identity(self) -> str:
        """SHA-256 over the names and sizes of the files; it misses a change that keeps a file's size.

        Raises:
            RecipeError: the folder does not exist, or contains fewer than two classes with images.
        """
        scan = self._scan()
        digest = hashlib.sha256(f"{self.image_size} {self.resize} {scan.parts}\n".encode())
        for name, _, _, size in scan.images:
            digest.update(f"{size} {name}\n".encode("utf-8", "surrogateescape"))
        return f"image_folder:sha256:{digest.hexdigest()}"

    def size(self) -> tuple[int, ImageShape]:
        """Number of image files, and their shape; raises as `identity` does."""
        return len(self._scan().images), (3, self.image_size, self.image_size)

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The images, sorted by relative name; raises as `identity` does."""
        scan = self._scan()
        root, size, how = self._root(), self.image_size, self.resize

        def decode(index: int) -> ImageArray:
            name = scan.images[index][0]
            return array_from_image(resized(decode_image(root / name, name), size, how))

        return Source(
            labels=np.array([label for _, label, _, _ in scan.images], dtype=np.int64),
            official_test=np.array([test for _, _, test, _ in scan.images], dtype=bool),
            classes=scan.classes,
            image_shape=(3, size, size),
            decode=decode,
            name_of=lambda index: scan.images[index][0],
            license="the user's own images",
            input_note="RGB, EXIF orientation applied, transparency on white, "
            f"{RESIZE_NOTES[how]} to {size}x{size}, bilinear",
            shape_note=scan.parts,
            skipped=scan.skipped,
        )

    def _root(self) -> Path:
        if self.root is None:
            raise RecipeError(
                "data.root: image_folder needs a folder of images",
                remedy=f"Name it: --set data.root=DIR. {LAYOUT}",
            )
        if not self.root.is_dir():
            raise RecipeError(
                f"data.root: the folder {self.root} does not exist",
                remedy=f"Name a folder of images: --set data.root=DIR. {LAYOUT}",
            )
        return self.root

    def _scan(self) -> _Scan:
        if self._scanned is None:
            self._scanned = _scan(self._root())
        return self._scanned


def _scan(root: Path) -> _Scan:
    """Every image under `root`, by class; raises RecipeError if there are fewer than two classes."""
    skipped: list[tuple[str, str]] = []
    train_folder = root / "train"
    inside = list(os.scandir(train_folder)) if train_folder.is_dir() else []
    if any(_visible_folder(entry) for entry in inside):
        train, test, parts = _parts(root, skipped)
    else:
        train, test, parts = [root], [], "one folder a class, no test part"
    classes = _class_names(train, skipped)
    if len(classes) < 2:
        content = f"only the class '{classes[0]}'" if classes else "no class folders"
        raise RecipeError(f"data.root: {train[0]} contains {content}; two are needed", remedy=LAYOUT)
    _same_classes(classes, _class_names(test, skipped), train, test)
    images = sorted(
        (name, label, folder in test, size)
        for folder in (*train, *test)
        for label, of_class in enumerate(classes)
        for name, size in _image_files(root, folder / of_class, skipped)
    )
    for is_test, folders in ((False, train), (True, test)):
        counts = np.bincount(
            [label for _, label, test_, _ in images if test_ == is_test], minlength=len(classes)
        )
        if folders and counts.min() == 0:
            raise RecipeError(
                f"data.root: the class '{classes[int(counts.argmin())]}' has no image under {folders[0]}",
                remedy=f"Add images to it or remove the empty folder. {LAYOUT}",
            )
    return _Scan(classes, tuple(images), tuple(dict.fromkeys(skipped)), parts)


def _parts(root: Path, skipped: list[tuple[str, str]]) -> tuple[list[Path], list[Path], str]:
    """Folders of the training part, folders of the test part, and a description of both."""
    test, validation = (
        root / "test",
        [root / name for name in ("val", "validation") if (root / name).is_dir()],
    )
    known = {root / "train", test, *validation}
    for other in sorted(root.iterdir()):
        if other.is_dir() and other not in known and not other.name.startswith("."):
            skipped.append((other.name, "a folder beside train/ that is none of test, val, validation"))
    if test.is_dir():
        joined = "".join(f", {folder.name}/ added to it" for folder in validation)
        return [root / "train", *validation], [test], f"train/{joined}; test/"
    if validation:
        return [root / "train"], validation[:1], f"train/; {validation[0].name}/ as the test part"
    return [root / "train"], [], "train/, no test part"


def _class_names(folders: list[Path], skipped: list[tuple[str, str]]) -> tuple[str, ...]:
    names: set[str] = set()
    for folder in folders:
        for entry in os.scandir(folder):
            if _visible_folder(entry):
                names.add(entry.name)
            elif entry.is_dir() and not entry.name.startswith("."):
                skipped.append((entry.name, "a link to a folder, not followed"))
    return tuple(sorted(names))


def _visible_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)


def _same_classes(
    classes: tuple[str, ...], tested: tuple[str, ...], train: list[Path], test: list[Path]
) -> None:
    if not test or classes == tested:
        return
    differing = sorted(set(classes) ^ set(tested))
    shown = ", ".join(
        f"'{name}' ({'no test' if name in classes else 'no training'} folder)" for name in differing[:5]
    )
    raise RecipeError(
        f"data.root: {train[0].name}/ and {test[0].name}/ contain different classes: {shown}"
        + (f" and {len(differing) - 5} more" if len(differing) > 5 else ""),
        remedy="Give both parts a folder for every class.",
    )


def _image_files(root: Path, folder: Path, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """(name relative to root, bytes) of every image below `folder`, at any depth."""
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(parent, name)
            relative = path.relative_to(root).as_posix()
            if name.startswith("."):
                folders[:] = [kept for kept in folders if kept != name]
            elif name in folders:
                if path.is_symlink():
                    skipped.append((relative, "a link to a folder, not followed"))
            elif path.suffix.lower() not in image_suffixes():
                skipped.append((relative, "not an image file"))
            elif not path.is_file():
                skipped.append((relative, "a link to nothing, or a special file"))
            else:
                yield relative, path.stat().st_size
