"""Images of no class: any folder, in the size of the data; refused where they are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import command, recipe_with, written


@pytest.fixture
def folder(tmp_path):
    """Thirty loose images at two depths, and a text."""
    generator = np.random.default_rng(3)
    for number in range(30):
        path = tmp_path / "loose" / ("deep" if number % 2 else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (50, 40, 3), np.uint8)).save(path)
    (tmp_path / "loose" / "notes.txt").write_text("none")
    return tmp_path / "loose"


def recipe_for(tmp_path, unknown, **changes):
    recipe = recipe_with(evaluate={"corruptions": [], "thresholds": [0.5], "unknown": unknown}, **changes)
    return written(tmp_path, recipe)


def test_confidence_on_a_folder_of_anything_is_measured_judged_and_shown(tiny, tmp_path, folder):
    images = np.load(tiny.stage_folder("prepare") / "images.npy", mmap_mode="r")
    splits = json.loads((tiny.stage_folder("prepare") / "splits.json").read_text())
    for split in ("train", "calibration", "test"):
        Image.fromarray(images[splits[split][0]].transpose(1, 2, 0)).save(folder / f"of_{split}.png")
    gates = [
        {"metric": "confident_unknown", "max": 0.99, "threshold": 0.5},
        {"metric": "top1", "min": 0.15},
    ]
    recipe = recipe_for(tmp_path, {"name": "loose_images", "root": str(folder), "images": 40}, gates=gates)
    out = tmp_path / "out"
    done = command("compress", recipe, "--store", tiny.store, "--out", out)
    report = json.loads((out / "report.json").read_text())
    assert {row["measurement"] for row in report["unknown"]} == {
        f"student {precision} on local" for precision in ("fp32", "int8")
    }
    assert "Left out of evaluate.unknown as images of the data: 3" in done.out + done.err
    assert [(row["images"], row["left_out"]) for row in report["unknown"]] == [(30, 3)] * 2
    judged = [gate for gate in report["gates"] if gate["metric"] == "confident_unknown"]
    shares = [row["thresholds"][0]["share"]["value"] for row in report["unknown"]]
    assert [gate["value"] for gate in judged] == shares
    assert done.code == {"passed": 0, "undecided": 4}[report["verdict"]]
    assert "Images of no class" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ({"name": "synthetic"}, "it is the same data set as data"),
        ({"name": "loose_images"}, "no folder is named"),
        ({"name": "loose_images", "root": "{folder}", "image_size": 48}, "its images are (3, 48, 48)"),
        ({"name": "loose_images", "root": "{folder}/none"}, "does not exist"),
        ({"name": "losse_images"}, "loose_images"),
    ],
)
def test_what_is_no_set_of_unknown_images_is_refused_when_planned(tmp_path, folder, unknown, message):
    unknown = {key: str(value).format(folder=folder) for key, value in unknown.items()}
    if "image_size" in unknown:
        unknown["image_size"] = 48
    done = command("compress", recipe_for(tmp_path, unknown), "--dry-run", "--store", tmp_path / "store")
    assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.parametrize("part", ["", "train", "linked"])
def test_the_datas_own_files_are_no_unknown_images(tmp_path, part):
    generator = np.random.default_rng(4)
    for number in range(80):
        part_of = "train" if number < 50 else "test"
        path = tmp_path / "data" / part_of / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (50, 40, 3), np.uint8)).save(path)
    (tmp_path / "linked").symlink_to(tmp_path / "data" / "test", target_is_directory=True)
    root = tmp_path / ("linked" if part == "linked" else f"data/{part}")
    data = {
        "name": "image_folder",
        "root": str(tmp_path / "data"),
        "image_size": 32,
        "calibration_images": 20,
    }
    recipe = recipe_for(tmp_path, {"name": "loose_images", "root": str(root), "resize": "pad"}, data=data)
    done = command("compress", recipe, "--dry-run", "--store", tmp_path / "store")
    count = {"": 80, "train": 50, "linked": 30}[part]
    message = f"{count} of its {count} images are images of the data"
    assert (done.code, message in " ".join(done.err.split())) == (2, True), done.err


def test_images_without_labels_are_not_learned(tmp_path, folder):
    data = {"name": "loose_images", "root": str(folder), "calibration_images": 20}
    recipe = written(tmp_path, recipe_with(data=data))
    done = command("compress", recipe, "--dry-run", "--store", tmp_path / "store")
    assert (done.code, "have no labels" in done.err) == (2, True), done.err
