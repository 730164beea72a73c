"""The installed packages, for the lock and the list of components of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import distributions

from calkd_edge.records import Json

LOCK, ENVIRONMENT = "requirements.lock", "environment.json"


def installed() -> dict[str, str]:
    """Normalised name -> version of every package that this Python finds, by name."""
    versions: dict[str, str] = {}
    for distribution in distributions():
        facts = distribution.metadata
        if "Name" in facts and "Version" in facts:  # the rest of an interrupted installation has neither
            # The first on the path is the one that is imported.
            versions.setdefault(re.sub(r"[-_.]+", "-", facts["Name"]).lower(), facts["Version"])
    return dict(sorted(versions.items()))


def lock_text(packages: Mapping[str, str]) -> str:
    """requirements.lock: one name==version a line."""
    return "".join(f"{name}=={version}\n" for name, version in packages.items())


def environment_text(environment: Mapping[str, Json]) -> str:
    """environment.json: the machine and the versions behind a report, without the date."""
    kept = {key: value for key, value in environment.items() if key != "date"}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
