"""Runtimes that plugins added on the host: the agent's zip replaces this file by one that lists them."""

from __future__ import annotations

from typing import Any

ADDED: dict[str, tuple[Any, ...]] = {}
"""Name -> the fields of its RuntimeInfo."""
