"""The Pythons of a machine, and what each can import: the one that runs the agent may lack the runtime."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calkd_edge.agent import packages
from calkd_edge.agent.machine import Machine, output_of

NAMES = ("python3",) + tuple(f"python3.{minor}" for minor in range(8, 15))
TIMEOUT_S = 45.0
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The zip or folder that this file was imported from."""

SCRIPT = """import sys
if sys.version_info < (3, 8):
    print('{"version": "%d.%d.%d"}' % sys.version_info[:3])
else:
    sys.path.insert(0, sys.argv[1])
    from calkd_edge.agent import packages
    packages.print_facts()
"""
FACT_TYPES = {
    "version": str,
    "bits": int,
    "prefix": str,
    "venv": bool,
    "managed": bool,
    "packages": dict,
    "broken": dict,
}


def interpreters(machine: Machine, timeout_s: float = TIMEOUT_S) -> list[dict[str, object]]:
    """Every Python 3 in the command folders, once each, the one that runs the agent first.

    Each has path, running, version, bits, prefix, venv, managed, packages, broken and problem. Where a Python
    does not answer in `timeout_s` seconds, all but path and running are None, and `problem` is the reason. In
    a folder that stands for a machine, its python3 counts as the one that runs the agent.
    """
    paths, records = _paths(machine), []
    if not machine.root:
        records.append(dict(packages.facts(), path=sys.executable, running=True, problem=None))
        paths = [path for path in paths if path != sys.executable]
    with ThreadPoolExecutor(4) as pool:
        for path, facts in zip(paths, pool.map(lambda path: _facts_of(path, timeout_s), paths)):
            records.append(dict(facts, path=path, running=not records))
    seen, unique = set(), []
    for record in records:
        identity = (record["prefix"], record["version"])
        if identity == (None, None) or identity not in seen:
            seen.add(identity)
            unique.append(record)
    return unique


def _facts_of(path: str, timeout_s: float) -> dict[str, object]:
    facts: dict[str, Any] = dict.fromkeys(FACT_TYPES)
    output = output_of([path, "-c", SCRIPT, HOME], timeout_s)
    try:
        answer = json.loads(output)
        facts.update(
            (key, answer[key]) for key, kind in FACT_TYPES.items() if isinstance(answer.get(key), kind)
        )
    except (ValueError, AttributeError, RecursionError):
        pass
    silent = f"it does not answer as a Python does, or not within {timeout_s:.0f} s"
    return dict(facts, problem=silent if facts["version"] is None else None)


def _paths(machine: Machine) -> list[str]:
    """Every Python 3 of the command folders; a file with several names once, a venv apart from its base."""
    paths: dict[str, str] = {}
    for folder in machine.command_folders():
        for name in NAMES:
            path = shutil.which(name, path=folder)
            if path is not None:
                venv = os.path.exists(os.path.join(os.path.dirname(folder), "pyvenv.cfg"))
                paths.setdefault(folder if venv else os.path.realpath(path), path)
    return list(paths.values())
