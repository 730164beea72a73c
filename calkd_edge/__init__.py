"""calkd-edge: distil, quantize and ship image classifiers whose confidences stay true on the device.

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

_PUBLIC = {
    "Affine": "calkd_edge.records",
    "Options": "calkd_edge.pipeline.options",
    "Quality": "calkd_edge.records",
    "Recipe": "calkd_edge.recipe.schema",
    "Report": "calkd_edge.records",
    "compress": "calkd_edge.pipeline.run",
    "load_recipe": "calkd_edge.recipe.schema",
    "make_plan": "calkd_edge.pipeline.run",
    "quality": "calkd_edge.metrics",
    "smoke": "calkd_edge.recipe.smoke",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605  # names are looked up in __getattr__
__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime from 1.32 on sends what it counts unless this is set before it is loaded; on the host too."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'calkd_edge' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
