"""Decoding photos complete and at a reduced size (data.fast_jpeg), one thread: times in turns, pixels beside.

Photos are generated: smooth colours with noise, JPEG quality 90. Writes its result beside itself.

    python benchmarks/growth/fast_jpeg.py
"""

from __future__ import annotations

import io
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image, __version__

from calkd_edge.data.image_folder import REDUCED
from calkd_edge.data.pixels import array_from_image, decode_image, resized

CASES = ((4000, 3000, 224), (4000, 3000, 32), (1024, 768, 224), (1024, 768, 32))
ROUNDS = 9


def photo(width: int, height: int) -> bytes:
    """A JPEG file."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoded(content: bytes, size: int, *, fast: bool) -> tuple[float, np.ndarray]:
    """Milliseconds, and the pixels as `prepare` keeps them."""
    begun = time.perf_counter()
    opened = decode_image(content, "a photo", at_least=REDUCED * size if fast else None)
    pixels = array_from_image(resized(opened, (size, size), "crop"))
    return 1e3 * (time.perf_counter() - begun), pixels


def main() -> None:
    """Every case."""
    result = {}
    for width, height, size in CASES:
        content = photo(width, height)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for fast in times:
                times[fast].append(decoded(content, size, fast=fast)[0])
        complete, reduced = (decoded(content, size, fast=fast)[1].astype(int) for fast in (False, True))
        ratios = [slow / quick for slow, quick in zip(times[False], times[True], strict=True)]
        result[f"{width} x {height} to {size}"] = {
            "ms": {"complete": statistics.median(times[False]), "fast": statistics.median(times[True])},
            "times_as_fast": statistics.median(ratios),
            "mean_difference": float(np.abs(complete - reduced).mean()),
        }
        print(width, height, size, result[f"{width} x {height} to {size}"], flush=True)
    told = {"pillow": __version__, "rounds": ROUNDS, "photos": result}
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
