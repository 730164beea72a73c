"""The data set of images that show none of the classes: named, checked, and sized as the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calkd_edge.data import DATASETS
from calkd_edge.data.source import Dataset
from calkd_edge.errors import RecipeError
from calkd_edge.recipe.schema import Recipe, UnknownSection
from calkd_edge.records import Component

AS_THE_DATA = ("image_size", "resize")
"""Settings that an unknown set takes over from the data where the recipe does not write them."""


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
        raise RecipeError(
            f"{key}: it is the same data set as data",
            remedy="Name images of something else than the classes.",
        )
    return UnknownImages(section, Component(name=section.name, settings=settings), identity)
