"""Time and memory where data grow, at an earlier commit and now, in turns.

    python benchmarks/growth/growth.py --before COMMIT

The commit is checked out into a temporary worktree. A process there and one here, both with one thread for
arithmetic, do the same work in turns: medians of each; median, least and largest of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peak_memory import peak_memory
from PIL import Image

from calkd_edge.data.augment import ResizedCrop
from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.images_file import write_images
from calkd_edge.metrics.quality import quality
from calkd_edge.records import Affine
from calkd_edge.training import affine as training_affine

ROOT = Path(__file__).resolve().parents[2]
IMAGES, CLASSES = 50_000, 1_000
PHOTOS, PHOTO_SIZE, SMALL = 32, (1024, 768), 32
BATCH, SIDE = 64, 224
RESULT = Path(__file__).with_suffix(".json")

Work = Callable[[], str]
"""Does the work once; a digest of what came out."""


def quality_work() -> Work:
    """All figures of 50,000 images in 1,000 classes, from float32 logits."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, IMAGES)
    logits = generator.standard_normal((IMAGES, CLASSES), dtype=np.float32) * 2
    logits[np.arange(IMAGES), labels] += 6
    return lambda: sha256(quality(logits, labels).model_dump_json().encode())


def resized_crop_work() -> Work:
    """A view of 64 images of 224 pixels."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    augmentation = ResizedCrop((3, SIDE, SIDE))
    view = augmentation.draw(BATCH, np.random.default_rng(0))
    return lambda: sha256(augmentation.replay(images, view).numpy().tobytes())


def affine_work() -> Work:
    """A matrix calibration of 1,000 classes applied to 64 rows, as in each step of a training."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    matrix = np.eye(CLASSES) + generator.normal(0, 0.01, (CLASSES, CLASSES))
    affine = Affine(scale=tuple(matrix.ravel().tolist()), bias=tuple(generator.normal(size=CLASSES).tolist()))
    logits = torch.from_numpy(generator.normal(0, 3, (BATCH, CLASSES)).astype(np.float32))
    if hasattr(training_affine, "apply_affine"):  # the earlier commit
        return lambda: sha256(training_affine.apply_affine(affine, logits).numpy().tobytes())
    on_tensors = training_affine.TensorAffine(affine)
    return lambda: sha256(on_tensors(logits).numpy().tobytes())


def photos_work(*, fast_jpeg: bool = False) -> Work:
    """32 photos of 1024 x 768 pixels prepared as 32 x 32, in as many threads as `prepare` takes."""
    scratch = tempfile.TemporaryDirectory(prefix="photos-")
    folder = Path(scratch.name)
    for number in range(PHOTOS):
        path = folder / f"{'ab'[number % 2]}/{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        photo(number).save(path, quality=90)
    settings = {"fast_jpeg": True} if fast_jpeg else {}
    source = ImageFolder(folder, image_size=SMALL, **settings).open(folder, lambda done, total: None)
    rows = np.arange(PHOTOS)

    def work() -> str:
        target = Path(scratch.name) / "images.npy"  # keeps the folder as long as there is work
        write_images(source, rows, target, broken="refuse", progress=lambda done, total: None)
        return sha256(target.read_bytes())

    return work


def photo(seed: int) -> Image.Image:
    """An image with the spectrum of photos: amplitudes that fall as 1/frequency, with some noise."""
    width, height = PHOTO_SIZE
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.rfftfreq(width)[None], np.fft.fftfreq(height)[:, None])
    amplitude = 1 / np.maximum(frequency, 1 / width) ** 1.1
    channels = []
    for _ in range(3):
        phases = generator.standard_normal((2, *amplitude.shape))
        channels.append(np.fft.irfft2(amplitude * (phases[0] + 1j * phases[1]), (height, width)))
    values = np.stack([channels[0] + 0.4 * channel for channel in channels], axis=-1)
    values = values / values.std() * 55 + 120 + generator.normal(0, 3, values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


WORKS: dict[str, Callable[[], Work]] = {
    "quality": quality_work,
    "resized_crop": resized_crop_work,
    "affine": affine_work,
    "photos": photos_work,
    "photos, fast_jpeg": lambda: photos_work(fast_jpeg=True),
}
"""By name. The last is not there at the earlier commit, whose photos are decoded completely."""

SAME = frozenset({"quality", "resized_crop", "affine", "photos"})
"""Works whose output must be the same to the bit."""

REPEATS = {"affine": 20, "resized_crop": 5}
"""Works that are short, and how often a round does them."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def serve(name: str) -> None:
    """Do a work once for each line of stdin; answer with a line of JSON."""
    work = WORKS[name]()
    for _ in sys.stdin:
        with peak_memory() as memory:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(REPEATS.get(name, 1)):
                digest = work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        grown = memory["peak"] - memory["before"]
        numbers = {"wall_s": wall / REPEATS.get(name, 1), "cpu_s": cpu / REPEATS.get(name, 1)}
        print(json.dumps({**numbers, "peak_mib": grown, "digest": digest}), flush=True)


def compare(before: str, rounds: int, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Works by name, at the commit and here, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), before], check=True, capture_output=True)
        try:
            for name in names:
                yield name, _in_turns(name, tree, rounds)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _in_turns(name: str, tree: Path, rounds: int) -> dict[str, Any]:
    earlier = "photos" if name.startswith("photos") else name
    sides = {"before": _process(earlier, tree), "now": _process(name, ROOT)}
    seen: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, process in sides.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if number:  # the first round warms up
                seen[side].append(answer)
    for process in sides.values():
        process.communicate()
    ratios = [now["cpu_s"] / old["cpu_s"] for old, now in zip(seen["before"], seen["now"], strict=True)]
    walls = [now["wall_s"] / old["wall_s"] for old, now in zip(seen["before"], seen["now"], strict=True)]
    same = len({answer["digest"] for answers in seen.values() for answer in answers}) == 1
    if name in SAME and not same:
        raise SystemExit(f"{name}: the output differs")
    result = {
        "ratio_cpu": [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))],
        "ratio_wall": [round(value, 3) for value in (statistics.median(walls), min(walls), max(walls))],
        **{
            side: {
                "cpu_s": round(statistics.median(answer["cpu_s"] for answer in answers), 5),
                "wall_s": round(statistics.median(answer["wall_s"] for answer in answers), 5),
                "peak_mib": round(max(answer["peak_mib"] for answer in answers)),
            }
            for side, answers in seen.items()
        },
        "same_output": same,
    }
    print(name, json.dumps(result), file=sys.stderr, flush=True)
    return result


def _process(name: str, tree: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve", name]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=WORKS, help="these alone; the result keeps the others")
    parser.add_argument("--serve", choices=WORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    known = json.loads(RESULT.read_text(encoding="utf-8"))["works"] if arguments.only else {}
    facts = {"cores": os.cpu_count(), "numpy": np.__version__, "torch": torch.__version__}
    result: dict[str, Any] = {"before": arguments.before, "rounds": arguments.rounds, "machine": facts}
    for name, figures in compare(arguments.before, arguments.rounds, arguments.only or list(WORKS)):
        known[name] = figures
        RESULT.write_text(json.dumps({**result, "works": known}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
