"""The agent as one small zip, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from calkd_edge import agent
from calkd_edge.agent.runtimes import RUNTIMES, RuntimeInfo
from calkd_edge.errors import EnvironmentProblem

_ENTRY = (
    b"""import sys
if sys.version_info < (3, 8):
    sys.exit("Python %d.%d there is too old: the agent needs 3.8 or later. If the board has a newer one, "
             "name it by `python:` in the inventory." % sys.version_info[:2])
"""
    b"import runpy\nrunpy.run_module('calkd_edge.agent', run_name='__main__', alter_sys=True)\n"
)
_DATE = (1980, 1, 1, 0, 0, 0)
_ADDED = "calkd_edge/agent/runtimes/added.py"


def agent_zip() -> bytes:
    """A zip that `python3 agent.pyz VERB job.json reply.json` runs; deterministic.

    Runtimes that plugins added are in it.

    Raises:
        EnvironmentProblem: the module of such a runtime has no source file.
    """
    return _zip(tuple(sorted(RUNTIMES.items())))


def agent_name() -> str:
    """calkd-agent-<first 12 of its SHA-256>.pyz: a change of content changes the name."""
    return f"calkd-agent-{hashlib.sha256(agent_zip()).hexdigest()[:12]}.pyz"


@cache
def _zip(runtimes: tuple[tuple[str, RuntimeInfo], ...]) -> bytes:
    root = Path(agent.__file__).parent
    members = {"__main__.py": _ENTRY, "calkd_edge/__init__.py": b""}
    for path in sorted(root.rglob("*.py")):
        members[f"calkd_edge/agent/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    added = {name: info for name, info in runtimes if f"{info.module.replace('.', '/')}.py" not in members}
    for name, info in added.items():
        members.update(_module_files(name, info.module))
    if added:
        table = {name: tuple(info) for name, info in added.items()}
        members[_ADDED] = f"ADDED = {table!r}\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[name])
    return buffer.getvalue()


def _module_files(runtime: str, module: str) -> dict[str, bytes]:
    """The source of a plugin's module, and empty packages around it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise EnvironmentProblem(
            f"the runtime '{runtime}' cannot be sent to a device: its module {module} has no source file",
            remedy="Write the runtime as one .py file that can be imported.",
        )
    parents = [Path(*module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)]
    packages = {f"{folder.as_posix()}/__init__.py": b"" for folder in parents}
    return {**packages, f"{module.replace('.', '/')}.py": Path(spec.origin).read_bytes()}
