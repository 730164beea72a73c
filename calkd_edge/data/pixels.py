"""Image files as uint8 RGB: colour modes, orientation, broken files and resizing."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from calkd_edge.data.source import BrokenImage, ImageArray

Resize = Literal["crop", "center_crop", "pad", "stretch"]
RESIZE_NOTES: dict[Resize, str] = {
    "crop": "middle square resized",
    "center_crop": "7/8 of the middle square resized",
    "pad": "resized between black bars",
    "stretch": "stretched",
}
"""What becomes of an image, in words."""

CENTER = 7 / 8
"""Of the largest middle part, what center_crop keeps: as a side of 256 pixels is cut to 224."""


_START_BYTES = 16

USED_OF_255 = 17
"""12 bits stored in 16 end here; images that are truly so dark are rare."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The supported formats, by Pillow's names, in the order in which they are tried.

Pillow's readers of other formats are seldom used and seldom tested; that of EPS runs an external program.
"""


@cache
def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of image files, with the dot."""
    Image.init()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


def decode_image(content: bytes | Path, name: str, *, at_least: int | None = None) -> Image.Image:
    """An upright RGB image from the bytes or the path of an image file.

    Transparent parts are composited on white; 16-bit grey is divided by 257; of an animation, the first frame
    is read; an EXIF orientation is applied.

    Args:
        content: of the file, or its path.
        name: of the image, for messages.
        at_least: decode a JPEG at 1/2, 1/4 or 1/8 of its size, the smallest whose sides have so many pixels:
            in less time, and with other pixels than a complete image that is reduced. None: complete.

    Raises:
        BrokenImage: the file is truncated, damaged, too large, of a format that is not supported, or contains
            32-bit or float grey.
    """
    try:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(stream, formats=FORMATS) as opened:
            if at_least is not None:
                opened.draft(None, (at_least, at_least))
            has_16_bits = any(";16" in str(tile) for tile in opened.tile)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            rgb = _rgb(upright, kind=opened.format)
            if has_16_bits:
                _check_range(rgb)
            return rgb
    except Exception as wrong:  # each of Pillow's readers has its own for damaged bytes
        raise BrokenImage(name, _reason(wrong, content)) from wrong


def _reason(wrong: Exception, content: bytes | Path) -> str:
    """What is wrong with an image file, without its name."""
    if isinstance(wrong, UnidentifiedImageError):
        other = _other_format(content)
        if other is not None:
            return f"{other} is not supported; save it as PNG or JPEG"
        return "not an image of a known format, or damaged at its start"
    return str(wrong).replace(str(content), "the file") or type(wrong).__name__


def _other_format(content: bytes | Path) -> str | None:
    """Pillow's name of the format of a file that is not supported, if its start shows it."""
    start = content[:_START_BYTES] if isinstance(content, bytes) else _start(content)
    for name, (_, accepts) in Image.OPEN.items():
        try:
            if name not in FORMATS and accepts is not None and accepts(start):
                return name
        except Exception:  # a start that is shorter than what it looks at
            continue
    return None


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_START_BYTES)


def array_from_image(image: Image.Image) -> ImageArray:
    """A contiguous uint8 array [3, height, width] of an RGB image; a copy."""
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def resized(image: Image.Image, size: int | tuple[int, int], how: Resize) -> Image.Image:
    """An RGB image of that size, by bilinear resampling that averages when it reduces.

    Args:
        image: RGB, any size.
        size: (H, W) of the result in pixels; one number for both.
        how: crop keeps the largest middle part of the result's proportions, center_crop 7/8 of that part's
            sides, pad keeps the complete image between black bars, stretch ignores the proportions.
    """
    width, height = image.size
    target = (size, size) if isinstance(size, int) else (size[1], size[0])
    if how == "stretch":
        return image.resize(target, Image.Resampling.BILINEAR)
    scales = (target[0] / width, target[1] / height)
    if how in ("crop", "center_crop"):
        # Not divided by the scale, whose rounding would move the box of an image that is only cut.
        part: tuple[float, float] = (
            (width, width * target[1] / target[0])
            if scales[0] >= scales[1]
            else (height * target[0] / target[1], height)
        )
        if how == "center_crop":
            part = (CENTER * part[0], CENTER * part[1])
        left, top = (width - part[0]) / 2, (height - part[1]) / 2
        box = (left, top, left + part[0], top + part[1])
        return image.resize(target, Image.Resampling.BILINEAR, box=box)
    fitted, side = (target[0], width) if scales[0] <= scales[1] else (target[1], height)
    inner = tuple(max(1, round(edge * fitted / side)) for edge in (width, height))
    canvas = Image.new("RGB", target)
    offset = ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2)
    canvas.paste(image.resize((inner[0], inner[1]), Image.Resampling.BILINEAR), offset)
    return canvas


def _check_range(image: Image.Image) -> None:
    """Refuse an image of 16 bits that uses the lowest of them only: it would be nearly black.

    Cameras and scanners write 10 or 12 bits into such files without stretching them.
    """
    _, highest = zip(*image.getextrema(), strict=True)
    if 0 < max(highest) < USED_OF_255:
        raise ValueError(
            f"16 bits a channel, but its values end at {max(highest) / 255:.0%} of them, as where a camera's "
            "10 or 12 bits are stored without stretching; save it stretched, or with 8 bits"
        )


def _rgb(image: Image.Image, *, kind: str | None) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"grey of mode {image.mode} has no agreed range; save it with 8 or 16 bits")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
