"""What a recipe leaves open is decided by the data and the machine, said, and written into the recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny_run import RECIPE, recipe_with

from calkd_edge.data import DATASETS
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.models import pretrained
from calkd_edge.pipeline.assumptions import settled, speak_of_direction
from calkd_edge.recipe.schema import parse


def images_of(folder, *classes):
    for name in classes:
        (folder / name).mkdir()
        Image.new("RGB", (8, 8)).save(folder / name / "one.png")
    return {"name": "image_folder", "root": str(folder), "image_size": 16, "calibration_images": 20}


def decided(recipe):
    root = None if recipe.data.root is None else Path(recipe.data.root)
    return settled(recipe, DATASETS.load(recipe.data.name)(root, **recipe.data.settings), "here")


@pytest.mark.parametrize(
    ("classes", "speaks"),
    [
        (["turn-left", "stop"], True),
        (["gauche", "autre"], True),
        (["0", "1", "2"], True),
        (["00000", "00042"], True),
        (["a", "b", "z"], True),
        (["Zero", "One"], True),
        (["cat", "dog"], False),
        (["leftover", "bright"], False),
        (["n01440764", "n02102040"], False),
        ([], False),
    ],
)
def test_names_that_speak_of_direction(classes, speaks):
    assert bool(speak_of_direction(classes)) == speaks


@pytest.mark.parametrize(
    ("classes", "asked", "flip", "said"),
    [
        (("0", "1"), {}, False, "not mirrored, because the classes may have a direction"),
        (("0", "1"), {"flip": True}, True, "mirrored left to right in half of the cases; colours stay"),
        (("cat", "dog"), {}, True, "data.augmentation.flip: false changes that"),
        (("cat", "dog"), {"flip": False}, False, "and not mirrored; colours stay"),
    ],
)
def test_mirroring_is_decided_by_the_names_unless_asked_for(classes, asked, flip, said, tmp_path):
    data = {**images_of(tmp_path, *classes), "augmentation": {"name": "resized_crop", **asked}}
    recipe, sentences = decided(parse(recipe_with(data=data), where="here"))
    assert recipe.data.augmentation.settings["flip"] is flip
    assert said in " ".join(sentences)
    assert parse(recipe.model_dump(mode="json", exclude_none=True), where="again") == recipe


@pytest.mark.parametrize("there", [True, False])
def test_pretrained_auto_starts_from_published_weights_where_they_can_be_had(there, monkeypatch):
    def check(name, settings, where):
        if not there:
            raise EnvironmentProblem(f"{where}.pretrained: cannot download x", remedy="Copy the file to y.")

    monkeypatch.setattr(pretrained, "check_available", check)
    student = {"name": "mobilenet_v2", "pretrained": "auto", "freeze_epochs": 1}
    recipe, sentences = decided(parse(recipe_with(student=student), where="here"))
    assert recipe.student.pretrained == (True if there else None)
    assert recipe.student.freeze_epochs == (1 if there else 0)
    expected = "starts from published weights" if there else "cannot download x. Copy the file to y."
    assert expected in " ".join(sentences)


def test_recipe_that_leaves_nothing_open_stays_as_it_is():
    data = {**RECIPE["data"], "augmentation": {"name": "none"}}
    recipe = parse(recipe_with(data=data), where="here")
    assert decided(recipe) == (recipe, ())
