"""Images in a folder at any depth, without labels: what a model meets that is none of its classes."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from calkd_edge.data.content import content_of, image_files
from calkd_edge.data.pixels import RESIZE_NOTES, Resize, array_from_image, decode_image, resized
from calkd_edge.data.source import ImageArray, ImageShape, Progress, Source
from calkd_edge.errors import RecipeError
from calkd_edge.files.paths import user_path

REMEDY = "Name a folder of images: evaluate: {unknown: {name: loose_images, root: DIR}}"


class LooseImages:
    """Images in a folder at any depth, without labels; for `evaluate.unknown`.

    Args:
        root: the folder; required.
        image_size: edge of the square input of the model, in pixels.
        resize: as in `image_folder`.
    """

    labelled = False

    def __init__(
        self,
        root: Path | None,
        *,
        image_size: Annotated[int, Field(ge=16, le=1024)] = 224,
        resize: Resize = "crop",
    ) -> None:
        self.root = None if root is None else user_path(root, "evaluate.unknown.root")
        self.image_size, self.resize = image_size, resize

    def identity(self) -> str:
        """SHA-256 over the files' names, sizes and content.

        Raises:
            RecipeError: there is no such folder, or no image in it.
        """
        root, files, _ = self._files
        digest = hashlib.sha256(f"{self.image_size} {self.resize}\n".encode())
        for name, size in files:
            digest.update(f"{size} {name}\n".encode("utf-8", "surrogateescape"))
            digest.update(content_of(root / name))
        return f"loose_images:sha256:{digest.hexdigest()}"

    def size(self) -> tuple[int, ImageShape]:
        """Number of image files, and their shape; raises as `identity` does."""
        return len(self._files[1]), (3, self.image_size, self.image_size)

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The images, sorted by relative name, all under one label; raises as `identity` does."""
        root, files, skipped = self._files
        size, how = (self.image_size, self.image_size), self.resize

        def decode(index: int) -> ImageArray:
            name = files[index][0]
            return array_from_image(resized(decode_image(root / name, name), size, how))

        return Source(
            labels=np.zeros(len(files), np.int64),
            official_test=np.zeros(len(files), bool),
            classes=(),
            image_shape=(3, *size),
            decode=decode,
            name_of=lambda index: files[index][0],
            license="the user's own images",
            input_note=f"{RESIZE_NOTES[how]} to {size[1]}x{size[0]}, bilinear",
            shape_note=f"{len(files):,} loose images",
            skipped=tuple(skipped),
            file_bytes=lambda index: files[index][1],
        )

    def photo(self, index: int) -> Path:
        """The file of an image, by its position among the sorted names; raises as `identity` does."""
        root, files, _ = self._files
        return root / files[index][0]

    @cached_property
    def _files(self) -> tuple[Path, list[tuple[str, int]], list[tuple[str, str]]]:
        if self.root is None or not self.root.is_dir():
            missing = "no folder is named" if self.root is None else f"the folder {self.root} does not exist"
            raise RecipeError(f"evaluate.unknown.root: {missing}", remedy=REMEDY)
        skipped: list[tuple[str, str]] = []
        files = sorted(image_files(self.root, self.root, skipped))
        if not files:
            raise RecipeError(f"evaluate.unknown.root: {self.root} holds no image", remedy=REMEDY)
        return self.root, files, skipped
