"""Folders as they come: each layout of the table in docs/folders.md, read as the table says.

After an intended change, write the table again: python tests/data/test_folder_layouts.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from PIL import Image

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.errors import RecipeError

PAGE = Path(__file__).parents[2] / "docs" / "folders.md"
TWO = ("cat", "dog")


def parts(*folders: str) -> tuple[str, ...]:
    """Two classes in each of these folders."""
    return tuple(f"{folder}/{kind}/1.png" for folder in folders for kind in TWO)


LAYOUTS: dict[str, tuple[str, ...]] = {
    "class folders": ("cat/1.png", "dog/1.png"),
    "class folders, images at any depth": ("cat/1.png", "cat/garden/2.png", "dog/1.png"),
    "one folder too many": parts("animals"),
    "two folders too many, and what macOS adds": (*parts("archive/animals"), "__MACOSX/archive/._1.png"),
    "`train/`, `test/`": parts("train", "test"),
    "`train/`, `val/`": parts("train", "val"),
    "`train/`, `valid/` (Roboflow without test)": parts("train", "valid"),
    "`train/`, `valid/`, `test/` (Roboflow)": parts("train", "valid", "test"),
    "`train/`, `val/`, `test/`": parts("train", "val", "test"),
    "`train/`, `validation/`": parts("train", "validation"),
    "`Training/`, `Testing/` (Kaggle)": parts("Training", "Testing"),
    "`Train/`, `Test/`, `Validation/`": parts("Train", "Test", "Validation"),
    "`TRAIN/`, `TEST/`": parts("TRAIN", "TEST"),
    "`train/`, `Test/`": parts("train", "Test"),
    "`training_set/training_set/`, `test_set/test_set/` (Kaggle)": parts(
        "training_set/training_set", "test_set/test_set"
    ),
    "`seg_train/seg_train/`, `seg_test/seg_test/`, `seg_pred/` (Kaggle)": (
        *parts("seg_train/seg_train", "seg_test/seg_test"),
        "seg_pred/1.png",
    ),
    "`train2017/`, `val2017/`": parts("train2017", "val2017"),
    "`dataset/train/`, `dataset/test/`": parts("dataset/train", "dataset/test"),
    "`trainset/`, `devset/`": parts("trainset", "devset"),
    "`train/` alone": parts("train"),
    "`train/`, and `test/` without class folders": (*parts("train"), "test/1.png", "test/2.png"),
    "`train/`, `test/`, and another folder": (*parts("train", "test"), "unlabelled/1.png"),
    "parts inside each class": tuple(f"{kind}/{part}/1.png" for kind in TWO for part in ("train", "test")),
    "`train/` and `val/` inside each class": tuple(
        f"{kind}/{part}/1.png" for kind in TWO for part in ("train", "val")
    ),
    "a class called train": ("train/1.png", "car/1.png"),
    "a class called test": ("test/1.png", "car/1.png"),
    "folds": parts("fold1", "fold2", "fold3"),
    "domains": parts("photo", "sketch", "cartoon"),
    "parts in other words": parts("entrenamiento", "prueba"),
    "a class called train with folders inside": ("train/old/1.png", "bus/1.png", "car/1.png"),
    "`test/` lacks a class": (*parts("train"), "test/cat/1.png"),
    "`test/` has another class": (*parts("train", "test"), "test/cow/1.png"),
    "a single class": ("cat/1.png",),
    "images without folders": ("1.png", "2.png"),
    "photos of a phone (`.heic`) in one class": ("cat/1.png", "dog/1.heic"),
}
"""Files of each layout."""


def made(folder: Path, files: tuple[str, ...]) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")
    return folder


def read(folder: Path) -> str:
    """What a folder is read as, or why it is refused."""
    try:
        outline = ImageFolder(folder).outline()
    except RecipeError as refused:
        return f"**refused**: {refused.message.removeprefix('data.root: ').replace(f'{folder}/', '')}"
    (reading,) = outline.remarks
    return " ".join(
        [reading.removeprefix("Data: read as "), *(f"Warning: {text}." for text in outline.warnings)]
    )


HEAD = "| folders | read as |\n|---|---|\n"


def table() -> str:
    rows = []
    for name, files in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(f"| {name} | {read(made(Path(folder), files))} |\n")
    return HEAD + "".join(rows)


def test_every_layout_is_read_as_the_documentation_says():
    assert PAGE.read_text(encoding="utf-8").endswith(f"\n\n{table()}")
    assert len(LAYOUTS) >= 25


@pytest.mark.parametrize(
    ("files", "test", "train"),
    [
        (LAYOUTS["`Training/`, `Testing/` (Kaggle)"], "Testing/", "Training/"),
        (LAYOUTS["`train/`, `valid/`, `test/` (Roboflow)"], "test/", ""),
        (LAYOUTS["parts inside each class"], "/test/", "/train/"),
    ],
)
def test_images_go_to_their_part(tmp_path, files, test, train):
    source = ImageFolder(made(tmp_path, files)).open(tmp_path, lambda done, total: None)
    assert source.classes == TWO
    for index, official in enumerate(source.official_test):
        assert (test if official else train) in source.name_of(index)


def test_links_out_of_the_folder_are_followed_and_links_back_are_named(tmp_path):
    made(tmp_path / "elsewhere", ("cats/1.png", "cats/deep/2.png"))
    (tmp_path / "elsewhere" / "cats" / "deep" / "up").symlink_to(tmp_path / "elsewhere" / "cats")
    folder = made(tmp_path / "data", ("dog/1.png",))
    (folder / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (folder / "dog" / "again").symlink_to(folder / "dog")
    source = ImageFolder(folder).open(tmp_path, lambda done, total: None)
    assert [source.name_of(index) for index in range(3)] == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert {name for name, _ in source.skipped} == {"cat/deep/up", "dog/again"}


@pytest.mark.parametrize(
    ("names", "is_alike"),
    [
        (("cat", "c\u0430t"), True),  # a Cyrillic a
        (("BUS", "\u0412us"), True),  # a Cyrillic Ve
        (("\u041a\u043e\u0442", "\u043a\u043e\u0442"), True),  # Cyrillic, in two cases
        (("\u043a\u043e\u0442", "\u043a\u0438\u0442"), False),
        (("cat", "car"), False),
    ],
)
def test_names_in_letters_of_two_alphabets_may_look_alike(tmp_path, names, is_alike):
    outline = ImageFolder(made(tmp_path, [f"{name}/1.png" for name in names])).outline()
    assert ["look alike" in warning for warning in outline.warnings] == [True] * is_alike


def test_names_that_look_alike_or_cannot_be_stored_are_told(tmp_path):
    outline = ImageFolder(
        made(tmp_path / "alike", ("Cat/1.png", "cat/1.png", "e\u0301/1.png", "\u00e9/1.png"))
    ).outline()
    assert ["look alike" in warning for warning in outline.warnings] == [True, True]
    (tmp_path / "odd").mkdir()
    made(tmp_path / "odd", ("cat/1.png", "d\x07g/1.png"))
    with pytest.raises(RecipeError, match=r"'d\\x07g' has a name that is not printable"):
        ImageFolder(tmp_path / "odd").outline()


if __name__ == "__main__":
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(HEAD)
    PAGE.write_text(before + table(), encoding="utf-8")
