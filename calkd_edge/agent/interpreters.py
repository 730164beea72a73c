"""The Pythons of a machine, and what each can import: the one that runs the agent may lack the runtime."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calkd_edge.agent import packages
from calkd_edge.agent.place import Place, output_of

NAMES = ("python3",) + tuple(f"python3.{minor}" for minor in range(8, 14))
TIMEOUT_S = 20.0
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The zip or folder that this file was imported from."""

ASK = """import sys
if sys.version_info < (3, 8):
    print('{"version": "%d.%d.%d"}' % sys.version_info[:3])
else:
    sys.path.insert(0, sys.argv[1])
    from calkd_edge.agent import packages
    packages.tell()
"""
SAID = {"version": str, "prefix": str, "venv": bool, "managed": bool, "packages": dict}


def interpreters(place: Place, timeout_s: float = TIMEOUT_S) -> list[dict[str, Any]]:
    """Every Python 3 that a PATH finds, once each, the one that runs the agent first.

    Each has path, running, version, prefix, venv, managed, packages and problem; all but the first two are
    None where it did not answer in `timeout_s` seconds, and `problem` says so. In a folder that plays a
    machine, its python3 stands for the one that runs the agent.
    """
    paths, found = _paths(place), []
    if not place.root:
        found.append(dict(packages.look(), path=sys.executable, running=True, problem=None))
        paths = [path for path in paths if path != sys.executable]
    with ThreadPoolExecutor(4) as pool:
        for path, said in zip(paths, pool.map(lambda path: _ask(path, timeout_s), paths)):
            found.append(dict(said, path=path, running=not found))
    seen, once = set(), []
    for one in found:
        identity = (one["prefix"], one["version"])
        if identity == (None, None) or identity not in seen:
            seen.add(identity)
            once.append(one)
    return once


def _ask(path: str, timeout_s: float) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(SAID)
    printed = output_of([path, "-c", ASK, HOME], timeout_s)
    try:
        said = json.loads(printed)
        found.update((key, said[key]) for key, kind in SAID.items() if isinstance(said.get(key), kind))
    except (ValueError, AttributeError, RecursionError):
        pass
    silent = f"it did not answer as a Python does, or not within {timeout_s:.0f} s"
    return dict(found, problem=silent if found["version"] is None else None)


def _paths(place: Place) -> list[str]:
    """Every Python 3 of the PATH, a file with several names once; a venv's is not the one it links to."""
    found: dict[str, str] = {}
    for folder in place.folders():
        for name in NAMES:
            path = shutil.which(name, path=folder)
            if path is not None:
                venv = os.path.exists(os.path.join(os.path.dirname(folder), "pyvenv.cfg"))
                found.setdefault(folder if venv else os.path.realpath(path), path)
    return list(found.values())
