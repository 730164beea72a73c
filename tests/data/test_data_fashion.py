"""The packaged part of Fashion-MNIST."""

import gzip
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calkd_edge.data import fashion_mnist
from calkd_edge.data.fashion_mnist import ASSET, FashionMnistSmall, read_asset
from calkd_edge.errors import StoreError

SCRIPT = ASSET.with_name("make_fashion_mnist_small.py")


def ignore(done, total):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return FashionMnistSmall(None).open(tmp_path_factory.mktemp("scratch"), ignore)


def test_it_has_1200_training_images_per_class_and_all_test_images(source):
    assert np.bincount(source.labels[~source.official_test]).tolist() == [1200] * 10
    assert np.bincount(source.labels[source.official_test]).tolist() == [1000] * 10
    assert FashionMnistSmall(None).size() == (22_000, source.image_shape)


def test_an_image_is_grey_repeated_and_padded_by_two_with_black(source):
    image = source.decode(17)
    assert image.shape == (3, 32, 32)
    assert image.dtype == np.uint8
    assert (image[0] == image[1]).all()
    assert (image[0] == image[2]).all()
    assert image[0, 2:-2, 2:-2].any()
    assert image.sum() == image[:, 2:-2, 2:-2].sum()


def test_test_images_keep_their_official_order(source):
    # The first labels of the official test file: ankle boot, pullover, trouser, trouser, shirt.
    assert source.labels[12_000:12_005].tolist() == [9, 2, 1, 1, 6]
    assert source.name_of(12_003) == "test/3"
    assert source.classes[9] == "Ankle boot"


def test_a_decoded_image_may_be_changed_by_the_caller(source):
    source.decode(3)[:] = 0
    assert source.decode(3).any()


def test_the_asset_and_its_licence_fit_the_package():
    folder = ASSET.parent
    assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < 10_000_000
    assert "Zalando SE" in (folder / "LICENSE.fashion-mnist").read_text()


@pytest.mark.parametrize("damage", ["cut", "absent", "other digest"])
def test_a_damaged_asset_is_refused(tmp_path, damage):
    copy = tmp_path / ASSET.name
    if damage == "cut":
        copy.write_bytes(ASSET.read_bytes()[:100_000])
    elif damage == "other digest":
        shutil.copy(ASSET, copy)
    with pytest.raises(StoreError) as refused:
        read_asset(copy, digest="0" * 64)
    assert "pip install" in refused.value.remedy


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), mtime=0))


def test_the_script_gives_the_same_bytes_twice(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 200), ("t10k", 40)):
        write_idx(
            tmp_path / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8)
        )
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    made = []
    for name in ("one.xz", "two.xz"):
        command = [
            sys.executable,
            str(SCRIPT),
            str(tmp_path),
            "--per-class",
            "7",
            "--out",
            str(tmp_path / name),
        ]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    arrays = read_asset(tmp_path / "two.xz", digest=shown.split()[-1])
    assert np.bincount(arrays["labels"][~arrays["test"]]).tolist() == [7] * 10
    assert arrays["test"].sum() == 40


@pytest.mark.slow
@pytest.mark.skipif("CALKD_FASHION_MNIST" not in os.environ, reason="CALKD_FASHION_MNIST names no folder")
def test_the_asset_comes_from_the_official_files(tmp_path):
    out = tmp_path / "again.xz"
    folder = Path(os.environ["CALKD_FASHION_MNIST"])
    subprocess.run([sys.executable, str(SCRIPT), str(folder), "--out", str(out)], check=True)
    read_asset(out, digest=fashion_mnist.DIGEST)
