"""What a Python can import: runtimes and numpy with their versions, each imported in a process of its own.

It runs in the agent itself; `interpreters` runs it in every other Python of the machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import struct
import sys
import sysconfig
from functools import partial
from importlib import metadata
from typing import Sequence

from calkd_edge.agent import engine
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.agent.trial import Trial

UNKNOWN = "unknown"


def runtimes() -> dict[str, str]:
    """Runtimes that this Python has, with their versions; none is imported."""
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
    packages = dict(runtimes(), **installed)
    broken = problems([name for name in packages if name not in ("pip", "ensurepip")])
    return {
        "version": platform.python_version(),
        "bits": 8 * struct.calcsize("P"),
        "prefix": sys.prefix,
        "venv": venv,
        "managed": not venv and os.path.exists(managed),
        "packages": {name: version for name, version in packages.items() if name not in broken},
        "broken": broken,
    }


def problems(names: Sequence[str]) -> dict[str, str]:
    """Which of these runtimes (or numpy) cannot be imported and used here, with the reason."""
    trials = {name: Trial(partial(import_problem, name)) for name in names}
    reasons = {name: trial.result() for name, trial in trials.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def check_runtimes(names: Sequence[str]) -> None:
    """Refuse runtimes that this Python has and cannot import or use.

    Raises:
        AgentProblem: with the reason of the first.
    """
    present = runtimes()
    for name, reason in problems([name for name in names if name in present]).items():
        raise AgentProblem(
            f"{name} is there and does not work: {reason}",
            "calkd-edge doctor --device DEVICE lists what works there and how to repair the rest.",
        )


def import_problem(name: str) -> str:
    """Why a runtime (or numpy) cannot be imported, or an engine's runtime not be used; empty if it can."""
    info = RUNTIMES.get(name)
    module = info.import_name if info else name
    try:
        importlib.import_module(module)
    except Exception as wrong:  # whatever the package raises
        return f"it cannot be imported: {reason_of(wrong, module)}"
    if info is not None and info.is_compiled:
        try:
            engine.check_access(module)
        except AgentProblem as problem:
            return problem.message
    return ""


def reason_of(wrong: BaseException, module: str) -> str:
    """The first sentence of why a module cannot be imported, and the file that was tried."""
    lines = [line.strip() for line in str(wrong).splitlines() if line.strip()]
    spec = importlib.util.find_spec(module)
    origin = f" ({spec.origin})" if spec is not None and spec.origin else ""
    return (lines[0] if lines else type(wrong).__name__)[:200] + origin


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
