"""What a Python can import: runtimes and numpy with their versions, looked up without importing them.

Run in the agent itself, and by `interpreters` in every other Python of the machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import sysconfig
from importlib import metadata
from typing import Any

RUNTIMES = {
    "litert": ("ai-edge-litert",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
}
"""Runtime -> the distributions that may bring it."""

MODULES = {"litert": "ai_edge_litert"}
"""Of runtimes whose module has another name."""

OTHERS = {"numpy": ("numpy",), "pip": ("pip",), "ensurepip": ()}
UNKNOWN = "unknown"


def runtimes() -> dict[str, str]:
    """Runtimes that this Python can import, with their versions."""
    return _versions(RUNTIMES)


def look() -> dict[str, Any]:
    """This Python: version, prefix, whether it is a venv, whether its system forbids pip, what it imports."""
    managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    venv = sys.prefix != sys.base_prefix
    return {
        "version": platform.python_version(),
        "prefix": sys.prefix,
        "venv": venv,
        "managed": not venv and os.path.exists(managed),
        "packages": _versions(dict(RUNTIMES, **OTHERS)),
    }


def tell() -> None:
    """Print `look` as JSON."""
    sys.stdout.write(json.dumps(look()))


def _versions(wanted: dict[str, Any]) -> dict[str, str]:
    found = {}
    for module, packages in wanted.items():
        if importlib.util.find_spec(MODULES.get(module, module)) is not None:
            versions = filter(None, map(_installed, packages))
            found[module] = next(versions, UNKNOWN)
    return found


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
