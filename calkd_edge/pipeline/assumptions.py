"""What a recipe leaves to the data and the machine: decided here, written into the recipe, and said.

In scope: mirroring where the recipe does not ask for it, pretrained weights where it says `auto`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from calkd_edge.data import AUGMENTATIONS
from calkd_edge.data.source import Dataset, Outlined
from calkd_edge.errors import CalkdError, EnvironmentProblem, RecipeError
from calkd_edge.models import MODELS, pretrained
from calkd_edge.recipe.schema import Recipe
from calkd_edge.recipe.training import AUTO, Choice, ModelSection

_SIDES = frozenset(
    ("left", "right", "links", "rechts", "gauche", "droite", "izquierda", "derecha")
    + ("esquerda", "direita", "sinistra", "destra")
)
_NUMBERS = frozenset(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))
_COLOURS = {
    "crop_pad": "; colours stay",
    "resized_crop": "; colours stay",
    "rand_augment": "; colours change too",
}
_WORD = re.compile("[a-z]+")


def settled(recipe: Recipe, dataset: Dataset, where: str) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with everything decided that it leaves open, and a sentence on each decision.

    Args:
        recipe: as read.
        dataset: of the recipe.
        where: its file, for messages.

    Raises:
        RecipeError: a network's settings are wrong.
    """
    sentences: list[str] = []
    changed: dict[str, object] = {}
    for name in ("teacher", "student"):
        section: ModelSection = getattr(recipe, name)
        if section.pretrained == AUTO:
            changed[name], sentence = _start(section, f"{where}: {name}", name)
            sentences.append(sentence)
    augmentation, sentence = _mirrored(recipe.data.augmentation, dataset)
    if sentence:
        changed["data"] = recipe.data.model_copy(update={"augmentation": augmentation})
        sentences.append(sentence)
    return recipe.model_copy(update=changed), tuple(sentences)


def speak_of_direction(classes: Sequence[str]) -> str:
    """Why mirroring may change what images of these classes show; empty where nothing speaks for it.

    >>> speak_of_direction(["turn_left", "turn_right", "stop"])
    'turn_left names a side'
    >>> speak_of_direction(["cat", "dog"])
    ''
    """
    for name in classes:
        if _SIDES & set(_WORD.findall(name.lower())):
            return f"{name} names a side"
    if classes and all(name.isdecimal() for name in classes):
        return "their names are numbers"
    if classes and all(len(name) == 1 for name in classes):
        return "their names are single characters"
    if classes and all(name.lower() in _NUMBERS for name in classes):
        return "their names are numbers"
    return ""


def _mirrored(chosen: Choice, dataset: Dataset) -> tuple[Choice, str]:
    """The augmentation with a decided `flip`, and the sentence; empty where there is nothing to decide."""
    try:
        settings = AUGMENTATIONS.settings(chosen.name, chosen.settings, where="")
        classes = dataset.outline().classes if isinstance(dataset, Outlined) else ()
    except CalkdError:
        return chosen, ""  # the checks that follow say what is wrong
    if "flip" not in settings:
        return chosen, ""
    is_explicit = "flip" in chosen.settings
    reason = "" if is_explicit else speak_of_direction(classes)
    flip = bool(settings["flip"]) and not reason
    how = "mirrored left to right in half of the cases" if flip else "not mirrored"
    why = f", because the classes may have a direction: {reason}" if reason else ""
    other = "" if is_explicit else f" (data.augmentation.flip: {str(not flip).lower()} changes that)"
    return (
        Choice(name=chosen.name, **{**chosen.settings, "flip": flip}),
        f"Training images are cropped at random ({chosen.name}) and {how}{why}"
        f"{other}{_COLOURS.get(chosen.name, '')}.",
    )


def _start(section: ModelSection, where: str, name: str) -> tuple[ModelSection, str]:
    """The section with `pretrained` true or without it, by whether published weights can be had here."""
    settings = MODELS.settings(section.name, section.settings, where=where, beside=type(section).model_fields)
    try:
        pretrained.check_available(section.name, settings, name)
    except (EnvironmentProblem, RecipeError) as refused:
        alone = {"pretrained": None, "freeze_epochs": 0, "mean": None, "std": None}
        reason = refused.message.removeprefix(f"{name}.pretrained: ").partition(" (")[0]
        return section.model_copy(update=alone), (
            f"The {name} starts from random weights, which costs accuracy where images are few: {reason}. "
            f"{refused.remedy}"
        )
    return section.model_copy(update={"pretrained": True}), f"The {name} starts from published weights."
