"""Everything a recipe may name, by kind."""

from __future__ import annotations

from typing import Any

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.data import AUGMENTATIONS, DATASETS, MIXINGS
from calkd_edge.devices import DEVICES
from calkd_edge.devices.inventory import PROFILES, inventory
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.export import TEACHER_FILES
from calkd_edge.losses import LOSSES
from calkd_edge.models import MODELS
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.recipe import source as recipe_text

REGISTRIES = {
    registry.plural: registry
    for registry in (
        MODELS,
        TEACHER_FILES,
        LOSSES,
        CALIBRATORS,
        DATASETS,
        AUGMENTATIONS,
        MIXINGS,
        QUANTIZERS,
        DEVICES,
    )
}


def listed(kind: str) -> list[dict[str, Any]]:
    """Entries of one kind: name, summary, source, settings.

    Raises:
        RecipeError: no such kind.
    """
    if kind == "recipes":
        return [
            {"name": name, "summary": _first_comment(path.read_text("utf-8")), "source": "", "settings": {}}
            for name, path in recipe_text.packaged().items()
        ]
    if kind not in REGISTRIES:
        known = [*REGISTRIES, "recipes"]
        raise RecipeError(
            f"there is no list of '{kind}'", remedy=f"{did_you_mean(kind, known)}Valid: {', '.join(known)}."
        )
    found = [REGISTRIES[kind].describe(name) for name in REGISTRIES[kind].names()]
    return [*found, *_boards()] if kind == "devices" else found


def _boards() -> list[dict[str, Any]]:
    """The user's inventory, and the kinds of boards that need one where this machine is none of them."""
    own = {name: f"{entry.address}, of your inventory" for name, entry in inventory().items()}
    kinds = {
        name: f"{profile.title}: this machine, or one of your inventory; {profile.runtime} by default"
        for name, profile in PROFILES.items()
        if name not in own
    }
    return [
        {"name": name, "summary": summary, "source": "", "settings": {}}
        for name, summary in {**own, **kinds}.items()
    ]


def _first_comment(text: str) -> str:
    return text.partition("\n")[0].removeprefix("#").strip()
