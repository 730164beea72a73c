"""Versions as tuples that compare."""

from __future__ import annotations

import re

from calkd_edge.records import MachineFacts

Version = tuple[int, ...]


def version_of(text: str | None) -> Version | None:
    """(10, 3, 0) of "10.3.0", as far as numbers go; None where it does not begin with one."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", text or "")
    return tuple(int(part) for part in found.group().split(".")) if found else None


def tensorrt_of(facts: MachineFacts) -> str | None:
    """The TensorRT that the running Python imports, else that of the library; None where there is neither."""
    python = facts.python
    told = (python.packages or {}).get("tensorrt") if python is not None else None
    if told is not None and version_of(told) is not None:
        return told
    return facts.libraries.get("libnvinfer") or told
