"""What the numbers of images allow: split sizes, classes in every split, gates that can decide.

In scope: everything that labels alone tell, before an image is decoded. Out of scope: pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from calkd_edge.data import DATASETS
from calkd_edge.data.prepare import FEWEST, absent_classes, choose_splits
from calkd_edge.data.prepared import Prepared, copies_in_test, trained_in_test
from calkd_edge.data.source import Outline, Outlined
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.options import Options
from calkd_edge.recipe.schema import Recipe
from calkd_edge.records import IntArray
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.gates.sample_size import fewest_images
from calkd_edge.release.gates.validation import check_gates

FEW_PER_CLASS = 10
"""Test images of a class below which its accuracy is hardly known; shown, not refused."""

WARNING = "WARNING: "
"""Begins a sentence that asks the reader to act."""

_SHOWN = 5

LOOKED_AT, DARK = 64, 64
"""Training images; 14 bits stored in 16 end at 63 of 255, and images that are all so dark are rare."""


def outline_of(checked: CheckedRecipe) -> Outline | None:
    """The labels of the recipe's data set; None where they are known only after a download or by decoding."""
    return checked.dataset.outline() if isinstance(checked.dataset, Outlined) else None


def known_images(recipe: Recipe) -> int | None:
    """Images of a recipe's data set; None where they are not known yet, or the recipe is wrong."""
    try:
        root = None if recipe.data.root is None else Path(recipe.data.root)
        dataset = DATASETS.load(recipe.data.name)(root, **recipe.data.settings)
        return len(dataset.outline().labels) if isinstance(dataset, Outlined) else None
    except (CalkdError, TypeError, ValueError):
        return None  # the check that follows says what is wrong


def check_counts(checked: CheckedRecipe, options: Options) -> None:
    """Refuse a recipe whose data cannot serve it.

    Raises:
        CalkdError: too few images for the splits, a class without test or training images, or a gate that
            cannot pass on so few test images (a smoke run and `--allow-undecided` take such gates).
    """
    outline = outline_of(checked)
    if outline is not None:
        takes_gates = options.smoke or options.allow_undecided
        _check_recipe(checked.recipe, outline, checked.where, gates=not takes_gates)


def _check_recipe(recipe: Recipe, outline: Outline, where: str, *, gates: bool) -> None:
    splits = _splits(recipe, outline)
    tested = _tested(recipe, splits)
    if tested < FEWEST:
        raise RecipeError(
            f"{where}: {tested} test image(s) would be scored; figures have bounds from {FEWEST} on",
            remedy="Raise data.test_images or evaluate.images, or add images.",
        )
    if recipe.data.test_images is None:
        _check_classes_tested(outline, splits, where)
    check_gates(recipe.gates, classes=outline.classes, where=where)
    if gates:
        _check_gates(recipe, tested, where)


def remarks(checked: CheckedRecipe, full: Recipe | None) -> list[str]:
    """Sentences about the images that a reader should know before anything trains.

    Args:
        checked: the recipe that runs.
        full: the recipe that a smoke run rehearses; None in other runs.
    """
    outline = outline_of(checked)
    if outline is None:
        return []
    splits = _splits(checked.recipe, outline)
    texts = [*outline.remarks, *(f"{WARNING}{warning}" for warning in outline.warnings)]
    for name in ("calibration", "test"):
        absent = absent_classes(outline.labels[splits[name]], outline.classes)
        if absent:
            texts.append(f"{WARNING}these classes have no {name} image: {_few(absent)}")
    counts = np.bincount(outline.labels[splits["test"]], minlength=len(outline.classes))
    rare = {outline.classes[k]: int(n) for k, n in enumerate(counts) if 0 < n < FEW_PER_CLASS}
    if rare and full is None:
        shown = _few([f"{name} ({count})" for name, count in rare.items()])
        texts.append(f"These classes have fewer than {FEW_PER_CLASS} test images: {shown}.")
    if full is not None:
        try:
            _check_recipe(full, outline, full.name, gates=True)
        except CalkdError as refused:
            texts.append(f"{WARNING}without --smoke it would be refused: {refused.message}. {refused.remedy}")
    return texts


def _splits(recipe: Recipe, outline: Outline) -> Mapping[str, IntArray]:
    data = recipe.data
    return choose_splits(
        outline,
        seed=recipe.seed,
        calibration_images=data.calibration_images,
        train_images=data.train_images,
        test_images=data.test_images,
    )


def _tested(recipe: Recipe, splits: Mapping[str, IntArray]) -> int:
    """Test images that are scored."""
    images = len(splits["test"])
    return images if recipe.evaluate.images is None else min(images, recipe.evaluate.images)


def _check_classes_tested(outline: Outline, splits: Mapping[str, IntArray], where: str) -> None:
    absent = absent_classes(outline.labels[splits["test"]], outline.classes)
    if absent:
        raise RecipeError(
            f"{where}: data: {len(absent)} of {len(outline.classes)} classes would have no test image, so "
            f"nothing would be known about them: {_few(absent)}",
            remedy="Add images of these classes (five give one to the test split), or move their folders out "
            "of the data.",
        )


def _check_gates(recipe: Recipe, tested: int, where: str) -> None:
    for index, gate in enumerate(recipe.gates):
        fewest = fewest_images(gate, METRICS[gate.metric])
        if tested < fewest:
            raise RecipeError(
                f"{where}: gates[{index}]: {gate.label} cannot pass on {tested:,} test images, whatever is "
                f"measured: {fewest:,} are needed",
                remedy="Add test images, loosen its limit, remove the gate (--set 'gates=[...]' replaces "
                "all), or accept an undecided release: --allow-undecided",
            )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def findings(folder: Path) -> list[str]:
    """Sentences about prepared images that a reader should know: copies, labels that differ, images left out.

    Args:
        folder: of the stage `prepare`.
    """
    prepared = Prepared.open(folder)
    copies = prepared.splits["duplicates"]
    tested, in_train = len(prepared.splits["test"]), trained_in_test(prepared)
    texts = []
    trained_dropped = copies["test_in_train_count"] - in_train
    if trained_dropped:
        texts.append(f"{trained_dropped:,} test images are copies of training or calibration images: dropped")
    if surplus_dropped := copies["dropped_from_test"] - trained_dropped:
        texts.append(f"{surplus_dropped:,} test images are copies of other test images: dropped")
    if in_train:
        texts.append(
            f"{WARNING}{in_train:,} of {tested:,} test images are pixel for pixel in the training or "
            "calibration images, so the measured accuracy is too high. data.drop_duplicates: true drops them"
        )
    if surplus := copies_in_test(prepared):
        texts.append(
            f"{WARNING}{surplus:,} of {tested:,} test images are copies of other test images, pixel for "
            "pixel, and say nothing new. data.drop_duplicates: true keeps one of each"
        )
    brightest = int(prepared.arrays("train", LOOKED_AT)[0].max(initial=0))
    if brightest <= DARK:
        texts.append(
            f"{WARNING}no pixel of the images looked at is brighter than {brightest} of 255: if they hold 13 "
            "or 14 bits in 16, as thermal cameras write them, stretch them to 16 bits"
        )
    if copies["conflicting_labels"]:
        texts.append(
            f"{WARNING}{copies['conflicting_labels']:,} pictures stand under two labels or more, so no model "
            "can be right on all of them"
        )
    for name in ("calibration", "test"):
        absent = prepared.splits[f"classes_absent_from_{name}"]
        if absent:
            texts.append(f"{WARNING}these classes have no {name} image: {_few(absent)}")
    return texts
