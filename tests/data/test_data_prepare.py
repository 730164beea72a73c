"""The prepared data: splits, duplicates, and refused settings."""

import dataclasses
import errno
import hashlib
import json
import os
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calkd_edge.data import images_file
from calkd_edge.data.prepare import fingerprinted, needed_bytes, prepare
from calkd_edge.data.prepared import Prepared, copies_in_test
from calkd_edge.data.source import Source
from calkd_edge.data.synthetic import Synthetic
from calkd_edge.errors import EnvironmentProblem, RecipeError, StageFailed, StoreError

SPLITS = ("train", "calibration", "test")


def ignore(done, total):
    pass


def source_of(images, labels, test, classes=4):
    """A source of these images."""
    return Source(
        labels=np.asarray(labels, np.int64),
        official_test=np.asarray(test, bool),
        classes=tuple(f"class{i}" for i in range(classes)),
        image_shape=images.shape[1:],
        decode=lambda index: images[index].copy(),
        name_of=str,
        license="none",
        input_note="as they are",
        shape_note="",
    )


def images_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8), np.uint8)


def prepared(source, out, **requested):
    choice = {
        "seed": 3, "calibration_images": 12, "train_images": None, "test_images": None,
        "drop_duplicates": False, "broken": "refuse", "progress": ignore, **requested,
    }  # fmt: skip
    prepare(source, out, **choice)
    return Prepared.open(out)


@pytest.fixture
def toy(tmp_path):
    return Synthetic(None, classes=4, images_per_class=20, test_images_per_class=10).open(tmp_path, ignore)


def bytes_of(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_rows_hold_the_images_and_labels_of_the_source(toy, tmp_path):
    data = prepared(toy, tmp_path)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.image_shape == (3, 32, 32)
    for row, position in enumerate(data.splits["source_index"]):
        assert (data.images[row] == toy.decode(position)).all()
        assert data.labels[row] == toy.labels[position]


def test_splits_are_disjoint_and_stratified_with_the_official_test_part(toy, tmp_path):
    data = prepared(toy, tmp_path)
    rows = {name: set(data.splits[name]) for name in SPLITS}
    assert [len(rows[name]) for name in SPLITS] == [68, 12, 40]
    assert len(set.union(*rows.values())) == 120
    assert np.bincount(data.labels[data.indices("calibration")]).tolist() == [3, 3, 3, 3]
    official = np.flatnonzero(toy.official_test).tolist()
    assert [data.splits["source_index"][row] for row in data.splits["test"]] == official
    assert data.splits["test_part"] == "official"


def test_without_a_test_part_a_fifth_is_split_off(tmp_path):
    source = source_of(images_of(100), np.arange(100) % 4, np.zeros(100))
    data = prepared(source, tmp_path)
    assert [len(data.splits[name]) for name in SPLITS] == [68, 12, 20]
    assert np.bincount(data.labels[data.indices("test")]).tolist() == [5, 5, 5, 5]
    assert data.splits["test_part"] == "split off here"
    (tmp_path / "other").mkdir()
    assert len(prepared(source, tmp_path / "other", test_images=8).splits["test"]) == 8


def test_the_same_seed_writes_the_same_bytes_also_over_an_old_run(toy, tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    prepared(toy, folders[0])
    prepared(toy, folders[1], calibration_images=20)
    prepared(toy, folders[1])
    other = prepared(toy, folders[2], seed=4)
    assert bytes_of(folders[0]) == bytes_of(folders[1])
    assert other.content != Prepared.open(folders[0]).content


@pytest.mark.parametrize(
    ("side", "file_bytes", "threads"),
    [(8, None, False), (64, None, True), (8, 200_000, True), (8, 1500, False), (64, 1500, False)],
)
def test_large_files_are_decoded_in_threads(side, file_bytes, threads, tmp_path, monkeypatch):
    """A large photo takes long whatever it becomes; without files, the size of the result counts."""
    monkeypatch.setattr(images_file.os, "sched_getaffinity", lambda process: range(4))
    images = np.random.default_rng(0).integers(0, 256, (100, 3, side, side), np.uint8)
    seen = set()

    def decode(index):
        seen.add(threading.get_ident())
        return images[index].copy()

    source = dataclasses.replace(
        source_of(images, np.arange(100) % 4, np.zeros(100)),
        decode=decode,
        file_bytes=None if file_bytes is None else lambda index: file_bytes,
    )
    data = prepared(source, tmp_path)
    assert (threading.get_ident() not in seen) == threads
    assert (data.images == images[data.splits["source_index"]]).all()


def test_a_later_setting_enters_fingerprints_only_where_it_is_used():
    settings = {"image_size": 224, "resize": "crop"}
    assert fingerprinted({**settings, "fast_jpeg": False}) == settings
    assert fingerprinted({**settings, "fast_jpeg": True}) == {**settings, "fast_jpeg": True}


def test_caps_decode_only_what_is_used(toy, tmp_path):
    decoded = []

    def decode(index):
        decoded.append(index)
        return toy.decode(index)

    progress = []
    data = prepared(
        dataclasses.replace(toy, decode=decode), tmp_path,
        calibration_images=8, train_images=16, test_images=4,
        progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert len(decoded) == len(set(decoded)) == len(data.images) == 28
    assert progress[-1] == (28, 28)
    assert np.bincount(data.labels[data.indices("train")]).tolist() == [4, 4, 4, 4]


def test_a_wider_train_cap_leaves_calibration_and_test_as_they_are(toy, tmp_path):
    kept = []
    for cap in (16, None):
        folder = tmp_path / str(cap)
        folder.mkdir()
        data = prepared(toy, folder, train_images=cap)
        kept.append(
            {name: [data.splits["source_index"][r] for r in data.splits[name]] for name in SPLITS[1:]}
        )
    assert kept[0] == kept[1]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 3), min_size=40, max_size=70),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=8),
    st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_identical_images_are_never_on_both_sides(tmp_path, labels, copies, with_test, drop, seed):
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, *labels[12:]])
    images = images_of(len(labels))
    for original, copy in copies:
        images[copy] = images[original]
    test = np.arange(len(labels)) >= len(labels) - 10 if with_test else np.zeros(len(labels))
    data = prepared(
        source_of(images, labels, test), tmp_path, seed=seed, drop_duplicates=drop, calibration_images=5
    )
    seen = {name: {data.images[row].tobytes() for row in data.splits[name]} for name in SPLITS}
    rows = [row for name in SPLITS for row in data.splits[name]]
    assert len(rows) == len(set(rows))
    assert not seen["train"] & seen["calibration"]
    in_train = [
        row
        for row in range(len(data.images))
        if data.images[row].tobytes() in seen["train"] | seen["calibration"]
    ]
    if drop or not with_test:
        assert not seen["test"] & (seen["train"] | seen["calibration"])
    else:
        assert data.splits["duplicates"]["test_in_train"] == [r for r in data.splits["test"] if r in in_train]


def test_duplicates_are_counted_listed_and_dropped_from_test_on_request(tmp_path):
    images, labels = images_of(60), np.arange(60) % 4
    images[55], images[57] = images[3], images[11]  # test images that occur in train
    images[20], images[31] = (
        images[4],
        images[7],
    )  # train twice
    images[21] = images[6]
    source = source_of(images, labels, np.arange(60) >= 50)
    (tmp_path / "kept").mkdir()
    data = prepared(source, tmp_path / "kept")
    result = data.splits["duplicates"]
    assert result["test_in_train"] == [55, 57]
    assert result["test_in_train_count"] == 2
    assert result["images"] == 10
    assert result["conflicting_labels"] == 2  # 57 with 11, and 21 with 6
    assert len(data.splits["test"]) == 10
    assert len(data.splits["calibration"]) == 12
    (tmp_path / "dropped").mkdir()
    dropped = prepared(source, tmp_path / "dropped", drop_duplicates=True)
    assert len(dropped.splits["test"]) == 8
    assert dropped.splits["duplicates"]["dropped_from_test"] == 2
    assert dropped.content != data.content


def test_copies_within_the_test_split_are_counted_and_dropped_on_request(tmp_path):
    images, labels = images_of(60), np.arange(60) % 4
    images[52] = images[54] = images[56] = images[50]
    images[59] = images[51]
    source = source_of(images, labels, np.arange(60) >= 50)
    counts = {}
    for drop in (False, True):
        folder = tmp_path / str(drop)
        folder.mkdir()
        data = prepared(source, folder, drop_duplicates=drop)
        counts[drop] = copies_in_test(data), data.splits["test"]
    assert counts == {False: (4, list(range(50, 60))), True: (0, [50, 51, 53, 55, 57, 58])}


def test_many_copies_of_an_image_all_go_to_train(tmp_path):
    images, labels = images_of(80), np.arange(80) % 4
    images[:40] = images[0]
    data = prepared(source_of(images, labels, np.arange(80) >= 60), tmp_path)
    assert set(range(40)) <= set(data.splits["train"])
    assert len(data.splits["calibration"]) == 12


def test_a_rare_class_stays_in_train_and_its_absence_elsewhere_is_listed(tmp_path):
    labels = np.r_[np.zeros(50), np.ones(50), 2, 3, 3].astype(int)
    data = prepared(source_of(images_of(103), labels, np.zeros(103)), tmp_path)
    assert {2, 3} <= set(data.labels[data.indices("train")].tolist())
    assert "class2" in data.splits["classes_absent_from_calibration"]
    assert "class2" in data.splits["classes_absent_from_test"]


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"calibration_images": 78}, r"data\.calibration_images: 78 requested of 80 images"),
        ({"calibration_images": 0}, r"data\.calibration_images: 0 is too few"),
        ({"train_images": 3}, r"data\.train_images: 3 is fewer than the 4 classes"),
    ],
)
def test_impossible_sizes_are_refused_with_numbers(toy, tmp_path, requested, message):
    with pytest.raises(RecipeError, match=message):
        prepared(toy, tmp_path, **requested)


def test_a_test_split_that_takes_everything_is_refused(tmp_path):
    source = source_of(images_of(20), np.arange(20) % 4, np.zeros(20))
    with pytest.raises(RecipeError, match=r"data\.test_images: 20 requested"):
        prepared(source, tmp_path, test_images=20)


def test_a_class_without_a_training_image_is_named(tmp_path):
    source = source_of(images_of(60), np.arange(60) % 3, np.arange(60) >= 50)
    with pytest.raises(StageFailed, match="1 of 4 classes have no training image: class3"):
        prepared(source, tmp_path)


def test_a_full_disk_is_an_environment_problem_before_anything_is_decoded(toy, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(images_file.os, "posix_fallocate", full)
    with pytest.raises(EnvironmentProblem, match="No space left") as refused:
        prepared(dataclasses.replace(toy, decode=None), tmp_path)
    assert refused.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_the_space_is_allocated_and_estimated(toy, tmp_path):
    prepared(toy, tmp_path)
    used = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
    assert (tmp_path / "images.npy").stat().st_blocks * 512 >= 120 * 3 * 32 * 32
    assert used <= needed_bytes(120, (3, 32, 32))


def test_the_notes_are_stored_with_the_data(toy, tmp_path):
    data = prepared(toy, tmp_path)
    notes = json.loads((tmp_path / "classes.json").read_text())
    assert tuple(notes["classes"]) == data.classes == toy.classes
    assert notes["license"] == toy.license
    assert notes["input_note"] == toy.input_note
    assert notes["image_shape"] == [3, 32, 32]


def test_a_limit_gives_the_same_sorted_rows_every_time(toy, tmp_path):
    data = prepared(toy, tmp_path)
    part = data.indices("test", 10, seed=5)
    assert (part == data.indices("test", 10, seed=5)).all()
    assert (part != data.indices("test", 10, seed=6)).any()
    assert (np.diff(part) > 0).all()
    assert set(part.tolist()) <= set(data.splits["test"])
    assert len(data.indices("test", 1000)) == 40
    images, labels, rows = data.arrays("test", 10, seed=5)
    assert images.flags.c_contiguous
    assert images.flags.writeable
    assert (rows == part).all()
    assert (labels == data.labels[part]).all()
    assert (images == data.images[part]).all()


def test_prepared_images_cannot_be_changed(toy, tmp_path):
    data = prepared(toy, tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


def test_mean_and_deviation_are_those_of_numpy(toy, tmp_path):
    data = prepared(toy, tmp_path)
    rows = data.indices("train")
    mean, std = data.mean_std(rows)
    pixels = data.images[rows] / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-12)
    assert std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-12)
    with pytest.raises(ValueError, match="no images"):
        data.mean_std(rows[:0])


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "classes.json", "splits.json"])
@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_a_damaged_folder_is_a_store_error(toy, tmp_path, name, damage):
    prepared(toy, tmp_path)
    if damage == "absent":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(StoreError):
        Prepared.open(tmp_path)
