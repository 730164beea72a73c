"""Every error a user can meet, each with its exit code and its remedy.

    CalkdError(message, remedy=...)                      exit
     ├─ RecipeError          a recipe or a command line     2
     ├─ GateFailed           a limit was broken             3
     ├─ GateUndecided        too little evidence            4
     ├─ DeviceError          a board did not answer         5
     ├─ EnvironmentProblem   package, disk, network, store  6
     │   └─ StoreError       a published folder is damaged
     └─ StageFailed          a stage refused its input   7

Anything else that reaches the command line is a bug of ours and exits with 1; Ctrl-C exits with 130.
In scope: what went wrong, where, and what to do. Out of scope: printing, logging, deciding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

EXIT_PASSED = 0
EXIT_BUG = 1
EXIT_INTERRUPTED = 130

PRECEDENCE = (EXIT_INTERRUPTED, EXIT_BUG, 2, 6, 7, 5, 3, 4, EXIT_PASSED)
"""Exit codes from the most to the least specific: when several apply to a run, the first here is its code."""


class CalkdError(Exception):
    """An error with a remedy: the message says what and where, the remedy says what to do.

    Args:
        message: what happened and where, in one sentence; names the file and the dotted recipe path.
        remedy: what the reader can do about it, as a sentence or a command.
    """

    exit_code = EXIT_BUG

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class RecipeError(CalkdError):
    """A recipe, an option or a limit that is not valid."""

    exit_code = 2


class GateFailed(CalkdError):
    """A limit was exceeded, with the complete interval on the wrong side."""

    exit_code = 3


class GateUndecided(CalkdError):
    """The evidence is too small to decide on which side of a limit the model is."""

    exit_code = 4


class DeviceError(CalkdError):
    """A device is unreachable, timed out, or its agent refused the job."""

    exit_code = 5


def of_file(refused: DeviceError, copy: str, path: Path) -> DeviceError:
    """The same error about the file that the user named, where the device ran a copy of another name.

    Args:
        refused: as the device raised it.
        copy: name of the file there.
        path: of the user's file.
    """
    named = refused.message.replace(copy, path.name)
    return DeviceError(named, remedy=refused.remedy.replace("MODEL.onnx", str(path)))


class EnvironmentProblem(CalkdError):
    """The machine lacks something: a package, disk, memory, the network, an undamaged store."""

    exit_code = 6


class StoreError(EnvironmentProblem):
    """A published folder is damaged, of another format, or held by another process."""


class StageFailed(CalkdError):
    """A stage refused its input; carries the stage's name.

    Args:
        message: the refusal.
        remedy: what to do.
        stage: name of the stage; the runner fills it in where the code does not know it.
    """

    exit_code = 7

    def __init__(self, message: str, *, remedy: str, stage: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.stage = stage


def worst_exit(codes: Iterable[int]) -> int:
    """The exit code of a run to which all of `codes` apply; 0 when there are none."""
    present = set(codes)
    return next((code for code in PRECEDENCE if code in present), EXIT_PASSED)


def check_at_least(option: str, value: int | None, least: int) -> None:
    """Refuse a value below the least that an option accepts; None is accepted.

    Raises:
        RecipeError: the value is too small.
    """
    if value is not None and value < least:
        raise RecipeError(f"{option} {value}: too small", remedy=f"Use {least} or more.")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """'Did you mean ...? ' when a choice is similar to `name`, else the empty string."""
    near = get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'? " if near else ""


def several(name: str, values: Sequence[T]) -> tuple[T, ...]:
    """The values of a parameter that takes several of them.

    Raises:
        RecipeError: one string was given, which would be read letter by letter.
    """
    if isinstance(values, str):
        raise RecipeError(f"{name}: one text where several may stand", remedy=f"Write {name}=[{values!r}].")
    return tuple(values)
