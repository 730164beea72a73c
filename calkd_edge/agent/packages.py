"""What a Python can import: runtimes and numpy with their versions, without importing them.

It runs in the agent itself; `interpreters` runs it in every other Python of the machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
import sysconfig
from importlib import metadata
from typing import Sequence

from calkd_edge.agent.runtimes import RUNTIMES

UNKNOWN = "unknown"


def runtimes() -> dict[str, str]:
    """Runtimes that this Python can import, with their versions."""
    installed = {}
    for name, info in RUNTIMES.items():
        version = _version(info.import_name, info.distributions)
        if version is not None:
            installed[name] = version
    return installed


def facts() -> dict[str, object]:
    """This Python: version, prefix, whether it is a venv, whether its system forbids pip, its packages."""
    managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    venv = sys.prefix != sys.base_prefix
    others = {"numpy": ("numpy",), "pip": ("pip",), "ensurepip": ()}
    versions = {name: _version(name, distributions) for name, distributions in others.items()}
    installed = {name: version for name, version in versions.items() if version is not None}
    broken = {} if "numpy" not in installed else import_problem("numpy")
    for name in broken:
        del installed[name]
    return {
        "version": platform.python_version(),
        "prefix": sys.prefix,
        "venv": venv,
        "managed": not venv and os.path.exists(managed),
        "packages": dict(runtimes(), **installed),
        "broken": broken,
    }


def import_problem(module: str) -> dict[str, str]:
    """A module that is there and cannot be imported, with the reason and where it is; empty if it can be."""
    try:
        importlib.import_module(module)
    except Exception as wrong:  # whatever the package raises
        return {module: reason_of(wrong, module)}
    return {}


def reason_of(wrong: BaseException, module: str) -> str:
    """The first sentence of why a module cannot be imported, and the file that was tried."""
    lines = [line.strip() for line in str(wrong).splitlines() if line.strip()]
    spec = importlib.util.find_spec(module)
    place = f" ({spec.origin})" if spec is not None and spec.origin else ""
    return (lines[0] if lines else type(wrong).__name__)[:200] + place


def print_facts() -> None:
    """Print `facts` as JSON."""
    sys.stdout.write(json.dumps(facts()))


def _version(module: str, distributions: Sequence[str]) -> str | None:
    """The version of a module's distribution; None where the module cannot be imported."""
    if importlib.util.find_spec(module) is None:
        return None
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return UNKNOWN
