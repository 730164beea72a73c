"""The commit of the program that wrote a report, where it is known."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_TIMEOUT_S = 10
_SHORT = 12
"""Characters of a commit's name."""


def program_commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """The commit of a checkout, with `-dirty` after changes to it, or of an installation from a repository.

    None for an installation from a package index, which has a version alone.

    Args:
        package: folder of the program's modules.
    """
    if (package.parent / ".git").exists():
        return _of_checkout(package.parent)
    try:
        text = distribution("calkd-edge").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(text).get("vcs_info", {}).get("commit_id") if text else None
    return str(commit)[:_SHORT] if commit else None


def _of_checkout(folder: Path) -> str | None:
    """None where git is missing or refuses the folder."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", f"--abbrev={_SHORT}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # it only reads
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
