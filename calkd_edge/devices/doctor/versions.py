"""Versions as tuples, which can be compared."""

from __future__ import annotations

import re

from calkd_edge.records import MachineFacts

Version = tuple[int, ...]


def version_of(text: str | None) -> Version | None:
    """(10, 3, 0) of "10.3.0", up to the first part that is no number; None where there is none."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text or "")
    return tuple(int(part) for part in match.group().split(".")) if match else None


def tensorrt_of(facts: MachineFacts) -> str | None:
    """The version of TensorRT in the running Python, else of the library; None where there is neither."""
    python = facts.python
    version = (python.packages or {}).get("tensorrt") if python is not None else None
    if version is not None and version_of(version) is not None:
        return version
    return facts.libraries.get("libnvinfer") or version
