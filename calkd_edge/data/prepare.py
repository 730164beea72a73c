"""Preparing a data set: decode the images into one array, split them, and find duplicates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from calkd_edge.data.images_file import drop_rows, write_images
from calkd_edge.data.source import ImageShape, Outline, Progress, Source
from calkd_edge.data.split import identical, keep_together, take
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.records import IntArray, Json

TEST_SHARE = 5
"""A data set without a test part gives one image in this many to the test split."""

FEWEST = 2
"""Images of a split: one image has no interval."""

LATER_SETTINGS: Mapping[str, object] = {"fast_jpeg": False}
"""Settings that data sets got after their first release, with their defaults."""

_SHOWN = 5


def needed_bytes(images: int, image_shape: ImageShape) -> int:
    """Bytes of disk for `images` prepared images: pixels, labels, and about 20 per image for splits."""
    return images * (int(np.prod(image_shape)) + 8 + 20) + 65_536


def fingerprinted(settings: Mapping[str, Json]) -> dict[str, Json]:
    """A data set's settings as they enter fingerprints: later ones only where they are not at their default.

    So a store that was filled before there was a setting stays valid.
    """
    return {
        name: value
        for name, value in settings.items()
        if name not in LATER_SETTINGS or value != LATER_SETTINGS[name]
    }


def prepare(
    source: Source,
    out: Path,
    *,
    seed: int,
    calibration_images: int,
    train_images: int | None,
    test_images: int | None,
    drop_duplicates: bool,
    broken: Literal["refuse", "skip"],
    progress: Progress,
) -> None:
    """Write images.npy, labels.npy, classes.json and splits.json into `out`.

    Only images that a split uses are decoded. The calibration split is taken from the official training part;
    a data set without a test part first gives a fifth of its images, or `test_images`, to the test split. All
    splits are stratified by class and disjoint. Images with the same pixels stay in one split among train and
    calibration (and a test split made here); an official test part is not changed, and its images that also
    occur in train or calibration are listed as "test_in_train". A killed run starts from the beginning.

    Args:
        source: the data set.
        out: an existing folder.
        seed: of every random choice, 0 or more.
        calibration_images: size of the calibration split.
        train_images: size of the train split, None for all remaining images.
        test_images: size of the test split, None for all.
        drop_duplicates: whether "test_in_train" images are removed from the test split, and all copies of a
            test image but the first.
        broken: for images that cannot be decoded: refuse ends the stage, skip lists them and continues.
        progress: called with (images done, total images).

    Raises:
        RecipeError: the data set has too few images for the requested sizes.
        StageFailed: images are broken, or a class has no training image.
        EnvironmentProblem: the disk is full.
    """
    sides = choose_splits(
        source,
        seed=seed,
        calibration_images=calibration_images,
        train_images=train_images,
        test_images=test_images,
    )
    used = np.sort(np.concatenate(list(sides.values())))
    digests, skipped = write_images(source, used, out / "images.npy", broken=broken, progress=progress)
    kept = np.array(sorted(digests), dtype=np.int64)
    _check_classes(np.intersect1d(sides["train"], used[kept]), source.labels, source.classes)
    if len(kept) < len(used):
        drop_rows(out / "images.npy", kept)
        digests = {row: digests[int(old)] for row, old in enumerate(kept)}
        used = used[kept]
    labels = source.labels[used]
    rows = {name: np.flatnonzero(np.isin(used, positions)) for name, positions in sides.items()}
    splits = _splits(source, rows, labels, digests, seed=seed, drop_duplicates=drop_duplicates)
    _check_sizes(splits)
    splits["source_index"] = used.tolist()
    splits["skipped"] = [{"name": name, "reason": reason} for name, reason in (*source.skipped, *skipped)]
    splits["asked"] = {"calibration": calibration_images, "train": train_images, "test": test_images}
    notes = {
        "classes": list(source.classes),
        "image_shape": list(source.image_shape),
        "license": source.license,
        "input_note": source.input_note,
        "shape_note": source.shape_note,
    }
    splits["content_sha256"] = _content(digests, labels, notes, splits)
    np.save(out / "labels.npy", labels)
    (out / "classes.json").write_text(json.dumps(notes, indent=1) + "\n", "utf-8")
    (out / "splits.json").write_text(json.dumps(splits) + "\n", "utf-8")


def _generator(seed: int, purpose: int) -> np.random.Generator:
    """A separate random stream for each purpose, so that the choices do not affect each other."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, 0xDA7A])))


def choose_splits(
    source: Source | Outline,
    *,
    seed: int,
    calibration_images: int,
    train_images: int | None,
    test_images: int | None,
) -> dict[str, IntArray]:
    """Positions in the data set of "train", "calibration" and "test", by labels alone: before decoding.

    Args:
        source: labels, official test part and classes.
        seed: of every random choice.
        calibration_images: size of the calibration split.
        train_images: size of the train split, None for all remaining images.
        test_images: size of the test split, None for all.

    Raises:
        RecipeError: too few images for the requested sizes.
        StageFailed: a class has no training image.
    """
    labels, classes = source.labels, len(source.classes)
    pool, test = np.flatnonzero(~source.official_test), np.flatnonzero(source.official_test)
    if len(test) == 0:
        size = len(pool) // TEST_SHARE if test_images is None else test_images
        test, pool = _take("test_images", pool, labels, size, _generator(seed, 1), reserve=1)
    elif test_images is not None and test_images < len(test):
        test, _ = _take("test_images", test, labels, test_images, _generator(seed, 1))
    if calibration_images < 1:
        raise RecipeError(
            f"data.calibration_images: {calibration_images} is too few; calibration is fitted on them",
            remedy="Set it to at least 300; 5,000 is usual for 50,000 images.",
        )
    calibration, pool = _take(
        "calibration_images", pool, labels, calibration_images, _generator(seed, 2), reserve=1
    )
    if train_images is not None and train_images < len(pool):
        if train_images < classes:
            raise RecipeError(
                f"data.train_images: {train_images} is fewer than the {classes} classes",
                remedy=f"Set it to at least {classes}; ten times as many are better.",
            )
        pool, _ = _take("train_images", pool, labels, train_images, _generator(seed, 3), least=1)
    _check_classes(pool, labels, source.classes)
    return {"train": pool, "calibration": calibration, "test": test}


def _take(
    key: str, pool: IntArray, labels: IntArray, total: int, generator: np.random.Generator, **limits: int
) -> tuple[IntArray, IntArray]:
    try:
        return take(pool, labels, total, generator, **limits)
    except ValueError as wrong:
        raise RecipeError(
            f"data.{key}: {total} requested of {len(pool)} images in {len(np.unique(labels[pool]))} classes, "
            f"each of which needs one image for training: {wrong}",
            remedy=f"Lower data.{key}, or add images.",
        ) from wrong


def _splits(
    source: Source,
    rows: dict[str, IntArray],
    labels: IntArray,
    digests: dict[int, bytes],
    *,
    seed: int,
    drop_duplicates: bool,
) -> dict[str, object]:
    """The three splits by row, with the duplicates and the absent classes."""
    groups = identical(digests)
    official = bool(source.official_test.any())
    movable = ("train", "calibration") if official else tuple(rows)
    together, moved = keep_together(
        {name: rows[name] for name in movable}, groups, labels, _generator(seed, 4)
    )
    rows = {**rows, **together}
    sides = {name: set(indices.tolist()) for name, indices in rows.items()}
    seen = sides["train"] | sides["calibration"]
    test_in_train = sorted(
        row for group in groups if seen.intersection(group) for row in group if row in sides["test"]
    )
    surplus = [row for group in groups for row in sorted(sides["test"].intersection(group))[1:]]
    dropped = {*test_in_train, *surplus} if drop_duplicates else set()
    test = [row for row in rows["test"].tolist() if row not in dropped]
    duplicates = {
        "groups": groups,
        "images": sum(len(group) for group in groups),
        "groups_kept_together": moved,
        "conflicting_labels": sum(len({int(labels[row]) for row in group}) > 1 for group in groups),
        "within_train": sum(len(sides["train"].intersection(group)) > 1 for group in groups),
        "within_calibration": sum(len(sides["calibration"].intersection(group)) > 1 for group in groups),
        "within_test": sum(len(sides["test"].intersection(group)) > 1 for group in groups),
        "test_in_train": test_in_train,
        "test_in_train_count": len(test_in_train),
        "dropped_from_test": len(rows["test"]) - len(test),
    }
    return {
        "train": rows["train"].tolist(),
        "calibration": rows["calibration"].tolist(),
        "test": test,
        "test_part": "official" if official else "split off here",
        "duplicates": duplicates,
        "classes_absent_from_calibration": absent_classes(labels[rows["calibration"]], source.classes),
        "classes_absent_from_test": absent_classes(labels[np.array(test, dtype=np.int64)], source.classes),
    }


def absent_classes(labels: IntArray, classes: tuple[str, ...]) -> list[str]:
    """Names of the classes that no label stands for."""
    present = set(labels.tolist())
    return [name for label, name in enumerate(classes) if label not in present]


def _check_classes(train: IntArray, labels: IntArray, classes: tuple[str, ...]) -> None:
    absent = absent_classes(labels[train], classes)
    if absent:
        raise StageFailed(
            f"{len(absent)} of {len(classes)} classes have no training image: {', '.join(absent[:_SHOWN])}",
            remedy="Add images of them, remove the classes, or request fewer calibration and test images.",
            stage="prepare",
        )


def _check_sizes(splits: Mapping[str, object]) -> None:
    """Refuse splits that lost their images: to broken files, or as copies of images of another split."""
    for name in ("train", "calibration", "test"):
        rows = splits[name]
        if isinstance(rows, list) and len(rows) < FEWEST:
            raise StageFailed(
                f"the {name} split has {len(rows)} image(s) left after broken images and copies are out of "
                f"it; at least {FEWEST} are needed",
                remedy="Add images that differ, or set data.drop_duplicates: false if copies were dropped "
                "from the test split.",
                stage="prepare",
            )


def _content(
    digests: dict[int, bytes], labels: IntArray, notes: Mapping[str, object], splits: Mapping[str, object]
) -> str:
    """SHA-256 over the digest of every row's pixels, the labels, the notes and the splits."""
    digest = hashlib.sha256(b"".join(digests[row] for row in range(len(labels))))
    digest.update(labels.astype("<i8").tobytes())
    digest.update(json.dumps([notes, splits], sort_keys=True).encode())
    return digest.hexdigest()
