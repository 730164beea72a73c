"""Golden photos: each gives its prepared image exactly, and tells nothing of who took it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from photos import SECRET, write_photos
from PIL import Image

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.photos import MOST_BYTES, MOST_PHOTOS, photos_of, without_metadata
from calkd_edge.data.pixels import array_from_image, decode_image, resized


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("how", ["crop", "center_crop", "pad", "stretch"])
def test_photos_give_the_prepared_images_exactly_and_carry_no_metadata(root, tmp_path, how):
    dataset = ImageFolder(root, image_size=32, resize=how)
    source = dataset.open(tmp_path, lambda done, total: None)
    images = np.stack([source.decode(index) for index in range(10)])
    images[9] = 0  # as where the file was replaced since
    photos = photos_of(dataset, range(10), images)
    suffixes = {0: "jpg", 1: "png", 2: "png", 3: "png", 4: "jpg", 5: "jpg", 7: "jpg", 8: "jpg"}
    assert list(photos) == [f"{number:02d}.{suffix}" for number, suffix in suffixes.items()]
    for name, content in photos.items():
        photo = decode_image(content, name)
        assert photo.size == ((61, 90) if name == "01.png" else (90, 61))
        np.testing.assert_array_equal(array_from_image(resized(photo, 32, how)), images[int(name[:2])])
        assert SECRET not in content
        assert len(content) <= MOST_BYTES


def test_images_without_files_or_with_other_ones_are_their_own_photos(root):
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 12), dtype=np.uint8)
    for dataset in (object(), ImageFolder(root, image_size=16)):  # the folder's images are others
        photos = photos_of(dataset, range(10), images)
        assert list(photos) == [f"{number:02d}.png" for number in range(MOST_PHOTOS)]
        for number, content in enumerate(photos.values()):
            np.testing.assert_array_equal(array_from_image(decode_image(content, "")), images[number])


def test_damaged_bytes_come_back_in_some_form(root):
    content = (root / "a/0.jpg").read_bytes()
    for cut in (0, 2, 3, 5, 30, 400, len(content) - 30):
        assert len(without_metadata(content[:cut])) <= cut + 2
    assert Image.open(io.BytesIO(without_metadata(content))).size == (90, 61)
