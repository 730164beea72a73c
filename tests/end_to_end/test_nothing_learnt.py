"""Data and teachers from which nothing can be learnt: never a release that passed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import RECIPE, command, recipe_with, written

GATES = [{"metric": "size_bytes", "max": 4_000_000}, {"metric": "top1_drop", "max": 0.05}]
"""Gates that ask for nothing absolute: what a student that knows nothing passes."""


def folder_of_images(root, labels, image):
    """root/class/number.png for each label; `image(number)` makes the pixels."""
    for number, label in enumerate(labels):
        place = root / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number)).save(place / f"{number:03}.png")
    return {"name": "image_folder", "root": str(root), "image_size": 16, "calibration_images": 40}


def noise(number):
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def of_random_labels(root):
    return recipe_with(data=folder_of_images(root, np.random.default_rng(1).integers(0, 3, 300), noise))


def of_a_majority(root):
    labels = np.where(np.arange(300) % 10 == 0, 1, 0)
    return recipe_with(data=folder_of_images(root, labels, noise))


def of_a_teacher_at_chance(root):
    slow = {**RECIPE["teacher_training"], "epochs": 1, "optimizer": {"lr": 1e-9}}
    return recipe_with(teacher_training=slow)


@pytest.mark.parametrize("case", [of_random_labels, of_a_majority, of_a_teacher_at_chance])
def test_nothing_learnt_is_undecided_and_said_first(case, tmp_path):
    recipe = written(tmp_path, {**case(tmp_path / "images"), "gates": GATES})
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert done.code == 4, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"] != "passed"
    assert any(one["sentence"].startswith("Nothing was shown by") for one in report["gates"])
    assert report["conclusions"][0].startswith("Nothing was shown by")


@pytest.mark.parametrize(
    ("labels", "image"),
    [
        ([0, 1], noise),
        ([0] * 60, noise),
        ([0, 1] * 60, lambda number: np.full((16, 16, 3), 7, np.uint8)),
    ],
    ids=["one image a class", "one class", "images all alike"],
)
def test_data_that_can_show_nothing_are_refused_before_training(labels, image, tmp_path):
    recipe = written(tmp_path, recipe_with(data=folder_of_images(tmp_path / "images", labels, image)))
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert done.code in (2, 7), done.err
    assert not list((tmp_path / "store").glob("objects/*/*/*.safetensors"))
