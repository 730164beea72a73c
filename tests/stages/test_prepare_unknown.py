"""Images of no class: those of the data are left out, pixel by pixel, and most of them are refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.loose_images import LooseImages
from calkd_edge.data.prepare import prepare
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.export.artifacts import UNKNOWN_FACTS, UNKNOWN_IMAGES
from calkd_edge.stages import prepare_unknown
from calkd_edge.stages.params import PrepareUnknownParams

SETTINGS = {"image_size": 16, "resize": "crop"}


def progress(done, total):
    pass


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    (tmp_path / "prepared").mkdir()
    source = ImageFolder(tmp_path / "data", **SETTINGS).open(tmp_path, progress)
    sizes = {"calibration_images": 8, "train_images": None, "test_images": 10}
    options = {"seed": 0, "drop_duplicates": False, "broken": "refuse", "progress": progress}
    prepare(source, tmp_path / "prepared", **sizes, **options)
    return tmp_path


def unknown_from(data, root):
    identity = LooseImages(root, **SETTINGS).identity()
    params = PrepareUnknownParams(
        dataset="loose_images", settings=SETTINGS, identity=identity, images=1000, seed=0, without_data=True
    )
    (data / "out").mkdir()
    inputs = {"data": data / "prepared"}
    prepare_unknown.run(Job(params.plain(), {"root": str(root)}, inputs, data / "out", data, progress))
    facts = json.loads((data / "out" / UNKNOWN_FACTS).read_text())
    return facts["left_out"], len(np.load(data / "out" / UNKNOWN_IMAGES))


def test_the_data_under_another_name_are_refused(data):
    shutil.copytree(data / "data", data / "copied")
    with pytest.raises(StageFailed, match="60 of 60 images are images of the data") as raised:
        unknown_from(data, data / "copied")
    assert "something else" in raised.value.remedy


def test_images_of_every_split_are_left_out(data):
    shutil.copytree(data / "data" / "a", data / "copied")
    generator = np.random.default_rng(1)
    for number in range(40):
        image = Image.fromarray(generator.integers(0, 256, (20, 20, 3), np.uint8))
        image.save(data / "copied" / f"other{number}.png")
    assert unknown_from(data, data / "copied") == (30, 40)
