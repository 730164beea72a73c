"""Copies, labels that differ and lost images: told after decoding, and limited by gates."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from release_world import Maker

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.prepare import prepare
from calkd_edge.errors import StageFailed
from calkd_edge.pipeline.data_checks import findings
from calkd_edge.pipeline.results import data_faults
from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.verdict import judge


@pytest.fixture
def images(tmp_path) -> Path:
    """30 training and 10 test images of each of two classes, all different."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 10)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "data"


def prepared(images: Path, *, drop: bool = False) -> Path:
    out = images.parent / f"prepared-{drop}"
    out.mkdir()
    prepare(
        ImageFolder(images, image_size=16).open(out, lambda done, total: None), out,
        seed=1, calibration_images=10, train_images=None, test_images=None, drop_duplicates=drop,
        broken="refuse", progress=lambda done, total: None,
    )  # fmt: skip
    return out


def copy_into_test(images: Path, count: int, name: str = "cat") -> None:
    for number in range(count):
        shutil.copy(images / f"train/{name}/{number:02d}.png", images / f"test/{name}/{number:02d}.png")


def test_sound_images_have_no_findings(images):
    assert findings(prepared(images)) == []


def test_copies_in_test_are_told_and_a_gate_limits_them(images):
    copy_into_test(images, 5)
    out = prepared(images)
    (sentence,) = findings(out)
    assert "WARNING: 5 of 20 test images are pixel for pixel in the training or calibration" in sentence
    faults = data_faults(out)
    assert faults.test_in_train == 0.25
    logits, labels = np.eye(2)[[0, 1, 0, 1]] * 3, np.array([0, 1, 1, 1])
    maker = Maker(logits, labels)
    measured = maker.evidence(maker.predictions()).measurement
    for limit, outcome in ((0.3, "passed"), (0.2, "failed")):
        gates = [GateSection(metric="test_in_train", max=limit)]
        assert judge(gates, [Evidence(measured, None, faults)]).gates[0].result == outcome


def test_dropped_copies_are_told_and_no_longer_count(images):
    copy_into_test(images, 5)
    out = prepared(images, drop=True)
    assert findings(out) == ["5 test images are copies of training or calibration images: dropped"]
    assert data_faults(out).test_in_train == 0


def test_dropped_copies_of_test_images_are_not_told_as_trained_ones(images):
    for number in range(3):
        shutil.copy(images / "test/cat/05.png", images / f"test/cat/{number:02d}.png")
    out = prepared(images, drop=True)
    assert findings(out) == ["3 test images are copies of other test images: dropped"]
    assert data_faults(out).test_in_train == 0


def test_a_class_that_loses_its_test_images_is_told(images):
    copy_into_test(images, 10)
    assert any(
        "these classes have no test image: cat" in text for text in findings(prepared(images, drop=True))
    )


def test_a_picture_under_two_labels_is_told(images):
    shutil.copy(images / "train/cat/00.png", images / "train/dog/00.png")
    out = prepared(images)
    assert "1 pictures stand under two labels" in findings(out)[0]
    assert data_faults(out).conflicting_labels == pytest.approx(1 / 80)


def test_a_split_that_loses_all_but_one_image_ends_the_stage(images):
    copy_into_test(images, 10)
    copy_into_test(images, 9, "dog")
    with pytest.raises(StageFailed, match=r"the test split has 1 image\(s\) left"):
        prepared(images, drop=True)
