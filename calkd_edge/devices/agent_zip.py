"""The agent as one small zip, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

from calkd_edge import agent

_ENTRY = b"import runpy\nrunpy.run_module('calkd_edge.agent', run_name='__main__', alter_sys=True)\n"
_WHEN = (1980, 1, 1, 0, 0, 0)


@cache
def agent_zip() -> bytes:
    """A zip that `python3 agent.pyz VERB job.json reply.json` runs; deterministic."""
    root = Path(agent.__file__).parent
    members = {"__main__.py": _ENTRY, "calkd_edge/__init__.py": b""}
    for path in sorted(root.rglob("*.py")):
        members[f"calkd_edge/agent/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[name])
    return buffer.getvalue()


def agent_name() -> str:
    """calkd-agent-<first 12 of its SHA-256>.pyz: another content is another file."""
    return f"calkd-agent-{hashlib.sha256(agent_zip()).hexdigest()[:12]}.pyz"
