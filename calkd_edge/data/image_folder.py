"""A folder of images with one subfolder per class, the usual form of a user's own images."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.data.content import NO_IMAGE, content_of, image_files
from calkd_edge.data.folder_layout import EXPECTED, NOTES, Layout, layout_of
from calkd_edge.data.pixels import RESIZE_NOTES, Resize, array_from_image, decode_image, resized
from calkd_edge.data.source import ImageArray, ImageShape, Outline, Progress, Source
from calkd_edge.errors import RecipeError
from calkd_edge.files.paths import user_path
from calkd_edge.records import BoolArray, IntArray

LOOKS_LATIN = str.maketrans("авекмнорстухіјѕαβεζηικμνορτυχ", "abekmhopctyxijsabezhikmnoptyx")
"""Cyrillic and Greek letters that look like Latin ones, as capitals or as small letters."""

REDUCED = 2
"""A JPEG that is decoded at a reduced size has at least so many times the pixels of a side of the result."""


@dataclass(frozen=True)
class _Scan:
    """Class names; (relative path, label, is test, bytes) of each image, sorted; skipped files."""

    classes: tuple[str, ...]
    images: tuple[tuple[str, int, bool, int], ...]
    skipped: tuple[tuple[str, str], ...]
    parts: str


class ImageFolder:
    """Images in one folder per class, optionally under train/ and test/ (or val/); folders name the classes.

    Parts are recognised in the usual spellings (Training/, valid/, seg_test/), also inside a single outer
    folder or inside each class folder. Hidden files are ignored; whatever else is left out is named. Links to
    folders outside the data set are followed. Without a test part, `prepare` splits one off.

    Args:
        root: the folder; required.
        image_size: edge of the square input of the model, in pixels.
        resize: crop keeps the middle square, center_crop 7/8 of its sides (a usual test of ImageNet models:
            resize to 256, cut to 224), pad keeps the complete image between black bars, stretch ignores
            proportions.
        fast_jpeg: decode JPEG files at 1/2, 1/4 or 1/8 of their size where twice image_size is left. Large
            photos take a fraction of the time; their pixels differ a little from those of other programs.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        image_size: Annotated[int, Field(ge=16, le=1024)] = 224,
        resize: Resize = "crop",
        fast_jpeg: bool = False,
    ) -> None:
        self.root = None if root is None else user_path(root, "data.root")
        self.image_size = image_size
        self.shape = (image_size, image_size)
        self.resize: Resize = resize
        self.fast_jpeg = fast_jpeg
        self._scanned: _Scan | None = None
        self._identity: str | None = None

    @classmethod
    def of_shape(cls, root: Path, shape: tuple[int, int], resize: Resize) -> ImageFolder:
        """The same images in any size (H, W), for models made elsewhere."""
        images = cls(root, image_size=shape[0], resize=resize)
        images.shape = shape
        return images

    def identity(self) -> str:
        """SHA-256 over the files' names, sizes and content, which are read once.

        Raises:
            RecipeError: the folder does not exist, or contains fewer than two classes with images.
            EnvironmentProblem: a folder in it cannot be read.
        """
        if self._identity is None:
            self._identity = self._digest()
        return self._identity

    def _digest(self) -> str:
        scan = self._scan()
        order = "" if scan.classes == tuple(sorted(scan.classes)) else " numbers"
        fast = " fast_jpeg" if self.fast_jpeg else ""
        digest = hashlib.sha256(f"{self.image_size} {self.resize} {scan.parts}{order}{fast}\n".encode())
        root = self._root()
        for name, _, _, size in scan.images:
            digest.update(f"{size} {name}\n".encode("utf-8", "surrogateescape"))
            digest.update(content_of(root / name))
        return f"image_folder:sha256:{digest.hexdigest()}"

    def size(self) -> tuple[int, ImageShape]:
        """Number of image files, and their shape; raises as `identity` does."""
        return len(self._scan().images), (3, self.image_size, self.image_size)

    def outline(self) -> Outline:
        """The labels, how the folders were read, and what is left out; raises as `identity` does."""
        scan = self._scan()
        labels, official_test = _labels(scan), _official_test(scan)
        return Outline(labels, official_test, scan.classes, (_reading(scan),), tuple(_warnings(scan)))

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The images, sorted by relative name; raises as `identity` does."""
        scan = self._scan()
        root, size, how = self._root(), self.shape, self.resize
        at_least = REDUCED * max(size) if self.fast_jpeg else None

        def decode(index: int) -> ImageArray:
            name = scan.images[index][0]
            return array_from_image(resized(decode_image(root / name, name, at_least=at_least), size, how))

        return Source(
            labels=_labels(scan),
            official_test=_official_test(scan),
            classes=scan.classes,
            image_shape=(3, *size),
            decode=decode,
            name_of=lambda index: scan.images[index][0],
            license="the user's own images",
            input_note="RGB, EXIF orientation applied, transparency on white, "
            f"{RESIZE_NOTES[how]} to {size[1]}x{size[0]}, bilinear"
            + (", large JPEG files decoded at a reduced size" if self.fast_jpeg else ""),
            shape_note=scan.parts,
            skipped=scan.skipped,
            file_bytes=lambda index: scan.images[index][3],
        )

    def photo(self, index: int) -> Path:
        """The file of an image, by its position among the sorted names; raises as `identity` does."""
        return self._root() / self._scan().images[index][0]

    def _root(self) -> Path:
        if self.root is None:
            raise RecipeError(
                "data.root: image_folder needs a folder of images",
                remedy=f"Name it: --set data.root=DIR. {EXPECTED}",
            )
        if not self.root.is_dir():
            raise RecipeError(
                f"data.root: the folder {self.root} does not exist",
                remedy=f"Name a folder of images: --set data.root=DIR. {EXPECTED}",
            )
        return self.root

    def _scan(self) -> _Scan:
        if self._scanned is None:
            self._scanned = _scan(self._root())
        return self._scanned


def _scan(root: Path) -> _Scan:
    """Every image under `root`, by class; raises RecipeError if there are fewer than two classes."""
    layout = layout_of(root)
    skipped = list(layout.skipped)
    classes = _in_order({name for name, _ in layout.train})
    _check_names(classes, layout)
    labels = {name: label for label, name in enumerate(classes)}
    images = sorted(
        (name, labels[of_class], is_test, size)
        for is_test, part in ((False, layout.train), (True, layout.test))
        for of_class, folder in part
        for name, size in image_files(root, folder, skipped)
    )
    for is_test, part in ((False, layout.train), (True, layout.test)):
        counts = np.bincount(
            [label for _, label, test_, _ in images if test_ == is_test], minlength=len(classes)
        )
        if part and counts.min() == 0:
            empty = classes[int(counts.argmin())]
            where = next(folder for name, folder in part if name == empty)
            raise RecipeError(
                f"data.root: the class '{empty}' has no image in {where}{_unreadable(where, root, skipped)}",
                remedy=f"Add images to it or remove the folder. {EXPECTED}",
            )
    return _Scan(classes, tuple(images), tuple(dict.fromkeys(skipped)), layout.parts)


def _in_order(names: set[str]) -> tuple[str, ...]:
    """Class names by code point; by value if all are whole numbers: 2 comes before 10."""
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _labels(scan: _Scan) -> IntArray:
    return np.array([label for _, label, _, _ in scan.images], dtype=np.int64)


def _official_test(scan: _Scan) -> BoolArray:
    return np.array([test for _, _, test, _ in scan.images], dtype=bool)


def _reading(scan: _Scan) -> str:
    """What the folders were read as, with the numbers of images."""
    test = int(_official_test(scan).sum())
    counts = f"{len(scan.images) - test:,} images" + (f" and {test:,} of the test part" if test else "")
    return f"Data: read as {scan.parts}: {counts} in {len(scan.classes)} classes."


def _warnings(scan: _Scan) -> Iterator[str]:
    """What is left out, by reason, and classes whose names look alike."""
    left_out: dict[str, list[str]] = {}
    for name, reason in scan.skipped:
        suffix = Path(name).suffix.lower()
        if reason == NO_IMAGE and suffix in NOTES:
            continue
        kind = f"{reason} ({suffix or 'no suffix'})" if reason == NO_IMAGE else reason
        left_out.setdefault(kind, []).append(name)
    for kind, names in left_out.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield f"left out of the data: {len(names):,} x {kind}: {shown}"
    alike: dict[str, list[str]] = {}
    for name in scan.classes:
        form = unicodedata.normalize("NFKC", name).casefold().translate(LOOKS_LATIN).strip()
        alike.setdefault(form, []).append(name)
    for names in alike.values():
        if len(names) > 1:
            shown = ", ".join(f"{name!a}" for name in names)
            yield f"classes whose names look alike are kept apart: {shown}"


def _check_names(classes: tuple[str, ...], layout: Layout) -> None:
    """Refuse fewer than two classes, names that no file can hold, and parts with different classes."""
    if len(classes) < 2:
        content = f"only the class '{classes[0]}'" if classes else "no class folders"
        raise RecipeError(f"data.root: the folder contains {content}; two are needed", remedy=EXPECTED)
    for name in classes:
        if not name.isprintable():
            raise RecipeError(
                f"data.root: the class folder {name!r} has a name that is not printable text, and the file "
                "of a model stores the names of its classes",
                remedy="Rename that folder.",
            )
    tested = {name for name, _ in layout.test}
    if not layout.test or tested == set(classes):
        return
    differing = sorted(set(classes) ^ tested)
    shown = ", ".join(
        f"'{name}' ({'no test' if name in classes else 'no training'} folder)" for name in differing[:5]
    )
    raise RecipeError(
        f"data.root: the parts ({layout.parts}) contain different classes: {shown}"
        + (f" and {len(differing) - 5} more" if len(differing) > 5 else ""),
        remedy="Give both parts a folder for every class.",
    )


def _unreadable(folder: Path, root: Path, skipped: list[tuple[str, str]]) -> str:
    below = f"{folder.relative_to(root).as_posix()}/"
    suffixes = Counter(Path(name).suffix.lower() for name, _ in skipped if name.startswith(below))
    counts = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(3))
    return f" that can be read (files there: {counts})" if counts else ""
