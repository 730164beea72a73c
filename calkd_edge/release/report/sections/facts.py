"""Section Where these numbers come from: data, models, devices, environment, files, recipe."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from calkd_edge.records import Json, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, packaged

LONGEST_LIST = 400
"""Characters from which a list of values is cut."""


def facts(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Data, models, devices and environment as titled lists of (dotted name, value)."""
    groups: list[tuple[str, Json]] = [("Data", report.data), ("Models", report.models)]
    groups += [(f"Device {name}", device.model_dump(mode="json")) for name, device in report.devices.items()]
    groups.append(("Environment", report.environment))
    return [(title, list(_flatten(tree, ""))) for title, tree in groups if tree]


def _flatten(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Dotted names and their values; long lists are cut and end in their length."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{path}[{index}]")
    elif isinstance(value, list):
        text = ", ".join(str(inner) for inner in value)
        cut = text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]}… ({len(value):,} in all)"
        yield path, cut or numbers.MISSING
    else:
        yield path, numbers.MISSING if value is None else str(value)


def _context(report: Report) -> Context:
    return {
        "facts": facts(report),
        "files": [m for m in report.measurements if m.calibrated and m.is_released],
        "recipe": yaml.safe_dump(report.recipe, sort_keys=False, allow_unicode=True, width=100),
    }


FACTS = Section("facts", "Where these numbers come from", packaged("facts"), _context, folded=True)
