"""The three kinds of symptoms, and one that several modules report."""

from __future__ import annotations

from calkd_edge.devices.doctor.commands import repair
from calkd_edge.records import Interpreter, Symptom


def missing(what: str, remedy: str) -> Symptom:
    """Something that the machine lacks."""
    return Symptom(kind="missing", what=what, remedy=remedy)


def trap(what: str, remedy: str) -> Symptom:
    """Something that the machine has and that will not work as expected."""
    return Symptom(kind="trap", what=what, remedy=remedy)


def warning(what: str, remedy: str) -> Symptom:
    """A state of the machine that distorts measurements."""
    return Symptom(kind="warning", what=what, remedy=remedy)


def without_numpy(python: Interpreter) -> Symptom:
    """The agent needs numpy for all verbs but `doctor`."""
    return missing(python.cannot_import("numpy"), repair(python, "numpy", "numpy"))
