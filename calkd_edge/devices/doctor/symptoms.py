"""The three kinds of symptoms, and the one that several look for."""

from __future__ import annotations

from calkd_edge.devices.doctor.commands import pip_install
from calkd_edge.records import Interpreter, Symptom


def missing(what: str, remedy: str) -> Symptom:
    """Something that is not there."""
    return Symptom(kind="missing", what=what, remedy=remedy)


def trap(what: str, remedy: str) -> Symptom:
    """Something that is there and will not do what one expects."""
    return Symptom(kind="trap", what=what, remedy=remedy)


def warning(what: str, remedy: str) -> Symptom:
    """Something under which figures are not what they should be."""
    return Symptom(kind="warning", what=what, remedy=remedy)


def without_numpy(python: Interpreter) -> Symptom:
    """The agent needs numpy for everything but looking around."""
    return missing(f"{python.path} has no numpy", pip_install(python, "numpy"))
