"""Make fashion_mnist_small.xz from the four official Fashion-MNIST files (idx, gzip).

    python calkd_edge/data/assets/make_fashion_mnist_small.py FOLDER

Of the 60,000 training images it keeps 1,200 a class: those for which SHA-256 of
"fashion_mnist_small/<position>", position counted from 0 in the official file, is smallest. All 10,000 test
images are kept. The rule needs no random generator, so it gives the same subset under any library version.

The file is one xz stream of four .npy arrays: images [22000, 28, 28], labels, test, position. Images stand
class by class, which compresses better (8.26 MB) than their official order (8.36), a left, up or median
predictor (8.5 to 9.0), or pixel planes (9.2). FOLDER and the options are all it reads; the same input gives
the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import lzma
from pathlib import Path

import numpy as np

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "pb": 0, "dict_size": 1 << 25}]


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped idx file; its header holds one big-endian int32 per axis.

    Raises:
        ValueError: the file is not an idx file of unsigned bytes.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an idx file of unsigned bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def chosen(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Positions of the images that are kept, ascending: `per_class` of each class by the rule above."""
    rank = np.array(
        [
            hashlib.sha256(f"fashion_mnist_small/{position}".encode()).hexdigest()
            for position in range(len(labels))
        ]
    )
    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.sort(np.concatenate([of_class[np.argsort(rank[of_class])][:per_class] for of_class in members]))


def small(folder: Path, per_class: int) -> dict[str, np.ndarray]:
    """The arrays of the asset, ordered by class, then part, then position."""
    kept = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        rows = chosen(labels, per_class) if part == "train" else np.arange(len(labels))
        kept[part] = (images[rows], labels[rows], np.full(len(rows), part == "test"), rows.astype(np.int32))
    images, labels, test, position = (
        np.concatenate(pair) for pair in zip(kept["train"], kept["test"], strict=True)
    )
    order = np.lexsort((position, test, labels))
    return {
        "images": images[order],
        "labels": labels[order],
        "test": test[order],
        "position": position[order],
    }


def main() -> None:
    """Write the asset and print what the reader must know of it."""
    parser = argparse.ArgumentParser(description="Make fashion_mnist_small.xz from the official files.")
    parser.add_argument("folder", type=Path, help="folder with the four official idx .gz files")
    parser.add_argument("--per-class", type=int, default=1200, help="training images kept of each class")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_mnist_small.xz"))
    options = parser.parse_args()
    stream, digest = io.BytesIO(), hashlib.sha256()
    for name, values in small(options.folder, options.per_class).items():
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode() + values.tobytes())
        np.save(stream, values)
    content = lzma.compress(stream.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=FILTERS)
    options.out.write_bytes(content)
    print(f"{options.out.name}: {len(content)} bytes; SHA-256 of the arrays: {digest.hexdigest()}")


if __name__ == "__main__":
    main()
