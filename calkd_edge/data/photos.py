"""Photos of prepared images: a program decodes and resizes them, to check that it does so as the data did.

Their metadata are left behind: a camera writes the place, the time and its owner into a photo.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from calkd_edge.data.pixels import Resize, array_from_image, decode_image, resized
from calkd_edge.data.source import BrokenImage, ImageArray

MOST_PHOTOS = 8
MOST_BYTES = 200_000
MOST_PIXELS = 1 << 21
"""Of an image that is tried as PNG: a larger one hardly fits into MOST_BYTES."""

_JPEG_START, _JPEG_END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""JPEG segments that change no pixel: all of applications but JFIF's and Adobe's, and comments."""


@runtime_checkable
class OfPhotos(Protocol):
    """A data set of image files in many sizes.

    Attributes:
        resize: how each becomes the input.
    """

    resize: Resize

    def photo(self, index: int) -> Path:
        """The file of an image."""


def photos_of(dataset: object, positions: Sequence[int], images: ImageArray) -> dict[str, bytes]:
    """At most MOST_PHOTOS photos, "NN.SUFFIX" -> file; NN is the image that it gives, exactly.

    A photo has its own size where the data set has files, this one is small, and it has not changed since;
    else it is the prepared image, as PNG. Photos of their own size are preferred.

    Args:
        dataset: whose images they are.
        positions: of the images in the data set.
        images: uint8 [n, 3, H, W], as they were prepared.
    """
    own: dict[int, tuple[str, bytes]] = {}
    if isinstance(dataset, OfPhotos):
        for number, (position, image) in enumerate(zip(positions, images, strict=True)):
            for suffix, content in _copies(dataset.photo(position)):
                if len(content) <= MOST_BYTES and _gives(content, image, dataset.resize):
                    own[number] = (suffix, content)
                    break
    chosen = sorted(sorted(range(len(images)), key=lambda number: number not in own)[:MOST_PHOTOS])
    files = {number: own.get(number) or (".png", _prepared(images[number])) for number in chosen}
    return {f"{number:02d}{suffix}": content for number, (suffix, content) in files.items()}


def _copies(path: Path) -> Iterator[tuple[str, bytes]]:
    """A small photo without its metadata: as it is if it is a JPEG, else upright as PNG."""
    with suppress(OSError, BrokenImage):
        if path.stat().st_size > MOST_BYTES:
            return
        content = path.read_bytes()
        if content.startswith(_JPEG_START):
            yield ".jpg", without_metadata(content)
        image = decode_image(content, path.name)
        if image.width * image.height <= MOST_PIXELS:
            yield ".png", _png(image)


def _gives(content: bytes, image: ImageArray, how: Resize) -> bool:
    _, height, width = image.shape
    with suppress(BrokenImage):
        given = array_from_image(resized(decode_image(content, "photo"), (height, width), how))
        return bool(np.array_equal(given, image))
    return False


def _prepared(image: ImageArray) -> bytes:
    return _png(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG")  # a new image has no text and no profile
    return buffer.getvalue()


def without_metadata(jpeg: bytes) -> bytes:
    """The JPEG without EXIF, comments and profiles, and without what stands after its end.

    An orientation goes with them: compare the pixels. Bytes that are no JPEG come back in some shorter form.
    """
    kept, at = [jpeg[:2]], 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != _SCAN:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] not in _METADATA:
            kept.append(jpeg[at:end])
        at = end
    end = jpeg.find(_JPEG_END, at)
    return b"".join([*kept, jpeg[at:end] if end >= 0 else jpeg[at:], _JPEG_END])
