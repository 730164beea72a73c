"""Folders of a user's images in their usual layouts."""

import numpy as np
import pytest
from photos import picture
from PIL import Image
from unprivileged import unprivileged

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.loose_images import LooseImages
from calkd_edge.data.prepare import prepare
from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import BrokenImage
from calkd_edge.errors import EnvironmentProblem, RecipeError, StageFailed

RNG = np.random.default_rng(0)


def ignore(done, total):
    pass


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).save(path)


def open_folder(root, **settings):
    return ImageFolder(root, **{"image_size": 16, **settings}).open(root, ignore)


def names(source):
    return [source.name_of(i) for i in range(len(source.labels))]


def test_folders_name_the_classes_without_a_test_part(tmp_path):
    put(tmp_path, "dog/b.png", "cat/z.jpg", "cat/sub/a.PNG")
    source = open_folder(tmp_path)
    assert source.classes == ("cat", "dog")
    assert names(source) == ["cat/sub/a.PNG", "cat/z.jpg", "dog/b.png"]
    assert source.labels.tolist() == [0, 0, 1]
    assert not source.official_test.any()
    assert source.decode(0).shape == (3, 16, 16)
    assert "16x16" in source.input_note
    assert ImageFolder(tmp_path, image_size=16).size() == (3, (3, 16, 16))


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_a_test_folder_is_the_test_part(tmp_path, test):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{test}/cat/1.png", f"{test}/dog/1.png")
    source = open_folder(tmp_path)
    held_out = [name for name, official in zip(names(source), source.official_test, strict=True) if official]
    assert held_out == [f"{test}/cat/1.png", f"{test}/dog/1.png"]


def test_val_joins_train_beside_a_test_folder(tmp_path):
    put(tmp_path, *(f"{part}/{kind}/1.png" for part in ("train", "val", "test") for kind in ("cat", "dog")))
    source = open_folder(tmp_path)
    assert source.official_test.sum() == 2
    assert "val/ added" in source.shape_note


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path, "train/1.png", "car/1.png")
    assert open_folder(tmp_path).classes == ("car", "train")


def test_other_files_are_listed_and_hidden_files_are_not(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png", "dog/.hidden/2.png", ".cache/3.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    (tmp_path / "dog" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    for itself in (tmp_path / "dog" / "itself.png", tmp_path / "itself"):
        itself.symlink_to(itself.name)
    (tmp_path / "dog" / "also.png").symlink_to(tmp_path / "cat" / "1.png")
    source = open_folder(tmp_path)
    assert names(source) == ["cat/1.png", "dog/1.png", "dog/also.png"]
    assert dict(source.skipped) == {
        "cat/notes.txt": "not an image file that can be read",
        "dog/loop": "a link to a folder of the same data set, not followed",
        "linked": "a link to a folder of the same data set, not followed",
        "dog/itself.png": "a link to nothing, or a special file",
        "dog/nowhere.png": "a link to nothing, or a special file",
    }


def test_a_folder_beside_train_is_listed(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "old/cat/2.png")
    assert dict(open_folder(tmp_path).skipped)["old"].startswith("a folder beside train/")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no class folders"),
        (["cat/1.png"], "only the class 'cat'"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], r"'dog' \(no test folder\)"),
        (
            ["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", "test/cow/1.png"],
            "'cow'",
        ),
    ],
)
def test_an_impossible_layout_is_refused(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(RecipeError, match=message):
        ImageFolder(tmp_path).identity()


@pytest.mark.parametrize("folder", ["dog", "test/dog"])
def test_an_empty_class_is_named(tmp_path, folder):
    if folder == "dog":
        put(tmp_path, "cat/1.png", "cow/1.png")
    else:
        put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    (tmp_path / folder).mkdir()
    with pytest.raises(RecipeError, match="'dog' has no image"):
        ImageFolder(tmp_path).identity()


@pytest.mark.parametrize("root", [None, "gone"])
def test_without_a_folder_the_layout_is_explained(tmp_path, root):
    with pytest.raises(RecipeError, match=r"data\.root") as missing:
        ImageFolder(root and tmp_path / root).identity()
    assert "--set data.root=DIR" in missing.value.remedy
    assert "DIR/<class>/" in missing.value.remedy


def test_the_identity_changes_when_images_of_one_size_are_swapped(tmp_path):
    first, second = (tmp_path / name / "image.png" for name in ("a", "b"))
    for value, path in enumerate((first, second)):
        path.parent.mkdir()
        Image.fromarray(np.full((8, 8, 3), 100 + value, np.uint8)).save(path)
    assert first.stat().st_size == second.stat().st_size
    before = ImageFolder(tmp_path).identity()
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert ImageFolder(tmp_path).identity() != before
    second.write_bytes(content)
    assert ImageFolder(tmp_path).identity() != before


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "tiff", "gif", "png", "webp"])
def test_the_identity_changes_with_pixels_in_the_middle_of_a_file(tmp_path, suffix):
    put(tmp_path, "a/other.png")
    pixels = RNG.integers(0, 256, (96, 96, 3), np.uint8)
    (tmp_path / "b").mkdir()
    identities = set()
    for changed in (pixels, np.r_[pixels[:30], 255 - pixels[30:60], pixels[60:]]):
        Image.fromarray(changed).save(tmp_path / "b" / f"image.{suffix}")
        identities.add(ImageFolder(tmp_path).identity())
    assert len(identities) == 2


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_the_identity_changes_with_a_hole_in_a_compressed_file(tmp_path, suffix):
    noise = Image.fromarray(RNG.integers(0, 256, (200, 200, 3), np.uint8))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        noise.save(tmp_path / name / f"image.{suffix}", quality=90)
    damaged = tmp_path / "b" / f"image.{suffix}"
    before, content = ImageFolder(tmp_path).identity(), damaged.read_bytes()
    assert len(content) > 20_000
    damaged.write_bytes(content[:9000] + bytes(4096) + content[13_096:])
    assert ImageFolder(tmp_path).identity() != before
    damaged.write_bytes(content)
    assert ImageFolder(tmp_path).identity() == before


@pytest.mark.parametrize("folder", ["cat", "cat/sub", "train/cat/sub"])
def test_a_folder_that_cannot_be_read_is_refused(folder):
    with unprivileged() as root:
        part = "train/" if folder.startswith("train") else ""
        put(root, f"{part}cat/1.png", f"{part}cat/sub/2.png", f"{part}dog/1.png")
        (root / folder).chmod(0)
        with pytest.raises(EnvironmentProblem, match=f"{root / folder}: Permission denied"):
            ImageFolder(root).outline()


def test_a_folder_whose_files_cannot_be_reached_is_refused():
    with unprivileged() as root:
        put(root, "cat/1.png", "cat/sub/2.png", "dog/1.png")
        (root / "cat" / "sub").chmod(0o600)  # names can be listed
        with pytest.raises(EnvironmentProblem, match="Permission denied"):
            ImageFolder(root).outline()


def test_an_unreadable_folder_of_the_system_is_no_part_of_the_images():
    with unprivileged() as root:
        put(root, "1.png")
        (root / "lost+found").mkdir(0)
        assert LooseImages(root).size()[0] == 1


def test_the_identity_depends_on_names_and_sizes_not_on_path(tmp_path):
    for copy in ("a", "b"):
        for kind in ("cat", "dog"):
            (tmp_path / copy / kind).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / copy / kind / "1.png")
    first, second = (ImageFolder(tmp_path / copy).identity() for copy in ("a", "b"))
    assert first == second
    assert ImageFolder(tmp_path / "a", image_size=64).identity() != first
    Image.new("RGB", (40, 4)).save(tmp_path / "b" / "cat" / "1.png")
    assert ImageFolder(tmp_path / "b").identity() != first


def test_broken_images_end_the_stage_or_are_left_out(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    out.mkdir()
    put(data, *(f"{kind}/{n:02d}.png" for kind in ("cat", "dog") for n in range(20)))
    (data / "dog" / "notes.txt").write_text("x")
    for name in ("cat/03.png", "dog/11.png"):
        (data / name).write_bytes((data / name).read_bytes()[:300])
    source = open_folder(data, image_size=64)
    with pytest.raises(BrokenImage):
        source.decode(3)
    requested = {
        "seed": 1,
        "calibration_images": 8,
        "train_images": None,
        "test_images": None,
        "drop_duplicates": False,
    }
    with pytest.raises(StageFailed, match=r"2 of 40 images.*cat/03\.png.*dog/11\.png") as refused:
        prepare(source, out, broken="refuse", progress=ignore, **requested)
    assert "data.broken=skip" in refused.value.remedy
    prepare(source, out, broken="skip", progress=ignore, **requested)
    prepared = Prepared.open(out)
    assert [entry["name"] for entry in prepared.splits["skipped"]] == [
        "dog/notes.txt",
        "cat/03.png",
        "dog/11.png",
    ]
    assert len(prepared.images) == 38
    rows = sorted(row for name in ("train", "calibration", "test") for row in prepared.splits[name])
    assert rows == list(range(38))
    for row, index in enumerate(prepared.splits["source_index"]):
        assert (prepared.images[row] == source.decode(index)).all()
        assert prepared.labels[row] == source.labels[index]


def test_a_class_whose_images_are_all_broken_ends_the_stage(tmp_path):
    put(tmp_path, *(f"{kind}/{n:02d}.png" for kind in ("cat", "cow", "dog") for n in range(9)))
    for n in range(9):
        (tmp_path / f"dog/{n:02d}.png").write_text("nothing")
    with pytest.raises(StageFailed, match="no training image: dog"):
        prepare(
            open_folder(tmp_path), tmp_path,
            seed=1, calibration_images=3, train_images=None, test_images=None,
            drop_duplicates=False, broken="skip", progress=ignore,
        )  # fmt: skip


def test_large_jpeg_files_are_reduced_on_request_alone(tmp_path):
    """With other pixels, and so under another identity; without the option both are as before."""
    for name in ("cat/1.jpg", "dog/1.jpg"):
        (tmp_path / name).parent.mkdir()
        picture(len(name), (400, 300)).save(tmp_path / name, quality=90)
    plain, fast = (ImageFolder(tmp_path, image_size=16, fast_jpeg=choice) for choice in (False, True))
    assert plain.identity() == ImageFolder(tmp_path, image_size=16).identity() != fast.identity()
    one, other = (folder.open(tmp_path, ignore) for folder in (plain, fast))
    assert (one.decode(0) != other.decode(0)).any()
    assert np.abs(one.decode(0).astype(int) - other.decode(0)).mean() < 5
    assert "reduced size" in other.input_note
    assert "reduced size" not in one.input_note
