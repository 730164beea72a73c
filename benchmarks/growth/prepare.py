"""Memory and time of `prepare` with many images: square JPEG files, each different, prepared once.

    python benchmarks/growth/prepare.py --images 200000 --side 224 --scratch DIR

Needs 170 kB of disk in DIR for each image of 224 pixels, and removes all of it afterwards. The result keeps
the runs of other numbers and sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from peak_memory import peak_memory, rss_anon
from PIL import Image

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.prepare import needed_bytes, prepare

TEXTURES, CLASSES = 64, 10
RESULT = Path(__file__).with_suffix(".json")


def make_images(folder: Path, count: int, side: int) -> float:
    """`count` different JPEG files in ten classes; seconds."""
    started = time.perf_counter()
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    noise = [generator.integers(0, 24, (side, side, 3), np.uint8) for _ in range(TEXTURES)]
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 232, (7, 7, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BILINEAR))
        image = Image.fromarray(smooth + noise[number % TEXTURES])
        image.save(folder / f"class{number % CLASSES}/{number:06d}.jpg", quality=85)
    return time.perf_counter() - started


def prepare_once(count: int, side: int, scratch: Path) -> dict[str, Any]:
    """Prepare that many images once; RssAnon and time. The files are removed afterwards."""
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="growth-"))
    try:
        need = needed_bytes(count, (3, side, side)) + count * 20_000
        if shutil.disk_usage(folder).free < need * 1.2:
            raise SystemExit(f"{count} images need {need / 1e9:.0f} GB of disk")
        made_s = make_images(folder / "data", count, side)
        print(f"{count} files made in {made_s:.0f} s", file=sys.stderr, flush=True)
        (folder / "out").mkdir()
        with peak_memory() as memory:
            started, cpu = time.perf_counter(), time.process_time()
            dataset = ImageFolder(folder / "data", image_size=side)
            dataset.identity()  # as the plan does
            source = dataset.open(folder, lambda done, total: None)
            prepare(
                source,
                folder / "out",
                seed=0,
                calibration_images=count // 40,
                train_images=None,
                test_images=None,
                drop_duplicates=False,
                broken="refuse",
                progress=_progress(),
            )
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        written = sum(path.stat().st_size for path in (folder / "out").iterdir())
        return {
            "made_s": round(made_s),
            "wall_s": round(wall),
            "cpu_s": round(cpu),
            "rss_anon_before_mib": round(memory["before"]),
            "rss_anon_peak_mib": round(memory["peak"]),
            "written_gb": round(written / 1e9, 2),
        }
    finally:
        shutil.rmtree(folder)


def _progress() -> Callable[[int, int], None]:
    shown = [0.0]

    def progress(done: int, total: int) -> None:
        if time.perf_counter() - shown[0] > 15 or done == total:
            shown[0] = time.perf_counter()
            print(f"{done}/{total} {rss_anon():.0f} MiB", file=sys.stderr, flush=True)

    return progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    result = prepare_once(arguments.images, arguments.side, arguments.scratch)
    facts = {"cores": os.cpu_count(), "pillow": PIL.__version__, "numpy": np.__version__}
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    known[f"{arguments.images} of {arguments.side}"] = {**result, **facts}
    RESULT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
