"""Everything a recipe may name, by kind."""

from __future__ import annotations

from typing import Any

from calkd_edge import recipe_text
from calkd_edge.calibration import CALIBRATORS
from calkd_edge.data import AUGMENTATIONS, DATASETS, MIXINGS
from calkd_edge.devices import DEVICES
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.export import TEACHER_FILES
from calkd_edge.losses import LOSSES
from calkd_edge.models import MODELS
from calkd_edge.quantization import QUANTIZERS

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
    return [REGISTRIES[kind].describe(name) for name in REGISTRIES[kind].names()]


def _first_comment(text: str) -> str:
    return text.partition("\n")[0].removeprefix("#").strip()
