"""The data set of images that show none of the classes: named, checked, and sized as the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from calkd_edge.data import DATASETS
from calkd_edge.data.photos import OfPhotos
from calkd_edge.data.source import Dataset
from calkd_edge.errors import RecipeError
from calkd_edge.export.artifacts import UNKNOWN_FACTS
from calkd_edge.recipe.schema import Recipe, UnknownSection
from calkd_edge.records import Component

AS_THE_DATA = ("image_size", "resize")
"""Settings that an unknown set takes over from the data where the recipe does not write them."""


SOMETHING_ELSE = "Name images of something else than the classes."


@dataclass(frozen=True)
class UnknownImages:
    """A checked section `evaluate.unknown`.

    Attributes:
        section: as read.
        component: the data set with its settings.
        identity: changes with the data.
    """

    section: UnknownSection
    component: Component
    identity: str


def check_labelled(dataset: Dataset, where: str) -> None:
    """Refuse a data set without labels as the data that are learned.

    Raises:
        RecipeError: it has none.
    """
    if not getattr(dataset, "labelled", True):
        raise RecipeError(
            f"{where}: data.name: its images have no labels",
            remedy="Use image_folder, one folder per class; images without labels go into evaluate.unknown.",
        )


def unknown_images(recipe: Recipe, data: Component, dataset: Dataset, where: str) -> UnknownImages | None:
    """The unknown images of a recipe; None where it names none.

    Args:
        recipe: as read.
        data: the component of its data set.
        dataset: its data set.
        where: its file, for messages.

    Raises:
        RecipeError: no such data set or setting, or images of another size than the data's.
    """
    section = recipe.evaluate.unknown
    if section is None:
        return None
    key = f"{where}: evaluate.unknown"
    known = DATASETS.settings(section.name, section.settings, where=key, beside=type(section).model_fields)
    taken_over = {
        name: data.settings[name] for name in AS_THE_DATA if name in known and name in data.settings
    }
    settings = {**known, **taken_over, **{k: v for k, v in known.items() if k in section.settings}}
    root = None if section.root is None else Path(section.root)
    unknown: Dataset = DATASETS.load(section.name)(root, **settings)
    shape, wanted = unknown.size()[1], dataset.size()[1]
    if shape != wanted:
        raise RecipeError(
            f"{key}: its images are {shape}, those of the data {wanted}",
            remedy="Name a set of images of that size, or a folder of images with image_size.",
        )
    identity = unknown.identity()
    if identity == dataset.identity():
        raise RecipeError(f"{key}: it is the same data set as data", remedy=SOMETHING_ELSE)
    shared, total = _shared_files(unknown, dataset), unknown.size()[0]
    if shared > total / 2:
        raise RecipeError(
            f"{key}: {shared:,} of its {total:,} images are images of the data", remedy=SOMETHING_ELSE
        )
    return UnknownImages(section, Component(name=section.name, settings=settings), identity)


def left_out(folder: Path) -> list[str]:
    """A sentence about unknown images that are images of the data.

    Args:
        folder: of the stage `prepare-unknown`.
    """
    count = json.loads((folder / UNKNOWN_FACTS).read_text(encoding="utf-8"))["left_out"]
    return [f"Left out of evaluate.unknown as images of the data: {count:,}"] if count else []


def _shared_files(unknown: Dataset, dataset: Dataset) -> int:
    """How many files of the unknown images are files of the data, under whatever name."""
    if not (isinstance(unknown, OfPhotos) and isinstance(dataset, OfPhotos)):
        return 0
    files, known = (
        {(facts.st_dev, facts.st_ino) for facts in (each.photo(at).stat() for at in range(each.size()[0]))}
        for each in (unknown, dataset)
    )
    return len(files & known)
