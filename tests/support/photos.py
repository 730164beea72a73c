"""A small folder of photos of every kind: turned, with a camera's metadata, grey, CMYK, too large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SECRET = b"taken by me at 52.1 N"


def picture(seed: int, size: tuple[int, int] = (90, 61)) -> Image.Image:
    """Smooth colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_photos(folder: Path) -> Path:
    """Ten files 0.jpg to 9.jpg in the classes a and b; number 1 is turned, 6 is too large for a bundle."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    exif, turned, text = Image.Exif(), Image.Exif(), PngInfo()
    exif[0x010E] = turned[0x010E] = SECRET.decode()
    turned[0x0112] = 6
    text.add_text("Comment", SECRET.decode())
    picture(0).save(folder / "a/0.jpg", exif=exif, comment=SECRET, quality=90)
    (folder / "a/0.jpg").write_bytes((folder / "a/0.jpg").read_bytes() + SECRET)
    picture(1).save(folder / "a/1.jpg", exif=turned)
    picture(2).save(folder / "a/2.png", pnginfo=text)
    picture(3).save(folder / "a/3.bmp")
    picture(4).save(folder / "b/4.jpg", progressive=True, subsampling=0)
    picture(5).convert("CMYK").save(folder / "b/5.jpg")
    noise = np.random.default_rng(6).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "b/6.png")
    picture(7).convert("L").save(folder / "b/7.jpg")
    for number in (8, 9):
        picture(number).save(folder / f"b/{number}.jpg")
    return folder
