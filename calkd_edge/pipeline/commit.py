"""The commit of the program that wrote a report, where it is known. No program is run to find it."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_SHORT = 12
"""Characters of a commit's name."""

_NAME = re.compile(r"[0-9a-f]{40,64}")


def program_commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """The commit of a checkout or of an installation from a repository.

    A checkout is called that, as it may hold changes that no commit has. None for an installation from a
    package index, which has a version alone.

    Args:
        package: folder of the program's modules.
    """
    if (package.parent / ".git").exists():
        commit = _of_checkout(package.parent / ".git")
        return f"{commit[:_SHORT]} (checkout)" if commit else None
    try:
        text = distribution("calkd-edge").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(text).get("vcs_info", {}).get("commit_id") if text else None
    return str(commit)[:_SHORT] if commit else None


def _of_checkout(git: Path) -> str | None:
    """The commit that HEAD names, read from git's files; None where they are of another form."""
    try:
        if git.is_file():  # of a further working tree
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        common = git / "commondir"
        root = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        commit = _commit_of(root, head.removeprefix("ref:").strip()) if head.startswith("ref:") else head
    except (OSError, UnicodeDecodeError):
        return None
    return commit if commit and _NAME.fullmatch(commit) else None


def _commit_of(root: Path, reference: str) -> str | None:
    """The commit of a branch: a file of its name, or a line among the packed ones."""
    loose = root / reference
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip()
    for line in (root / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return None
