"""The Pythons that boards have, where this machine has them too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VERSIONS = ("3.8", "3.10", "3.12")


def clean() -> dict[str, str]:
    """An environment from which this project cannot be imported by accident."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}


def interpreters() -> dict[str, str]:
    """Python by version: from CALKD_PYTHONS (a colon-separated list of paths), else from pyenv."""
    paths = {}
    listed = [path for path in os.environ.get("CALKD_PYTHONS", "").split(":") if path]
    for version in VERSIONS:
        for path in [*listed, *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]:
            code = "import sys; print('%d.%d' % sys.version_info[:2])"
            done = subprocess.run(
                [path, "-c", code], env=clean(), capture_output=True, text=True, check=False
            )
            if done.stdout.strip() == version:
                paths.setdefault(version, path)
    return paths
