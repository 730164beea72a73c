"""Paths that people write."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.errors import RecipeError

_SHOWN = 100


def check_path(path: str | Path, where: str) -> None:
    """Refuse a path that no file can have; it need not exist.

    Args:
        path: as it was written.
        where: the option or the recipe's key, for the message.

    Raises:
        RecipeError: a name that is too long, a null byte, a circle of links.
    """
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except (OSError, ValueError, RuntimeError) as wrong:
        reason = (wrong.strerror if isinstance(wrong, OSError) else None) or str(wrong)
        raise _refused(path, where, reason) from None


def named_folder(text: str | Path, option: str) -> Path:
    """The folder that an option names.

    Raises:
        RecipeError: it is empty, as from a shell variable that is not set: that is not the working directory.
    """
    if not str(text):
        raise RecipeError(f"{option}: the name of the folder is empty", remedy=f"Name one: {option} DIR")
    return Path(text)


def user_path(path: str | Path, where: str, folder: Path | None = None) -> Path:
    """The path with ~ replaced, relative to `folder` if one is given.

    Raises:
        RecipeError: no file can have that name, or there is no such user.
    """
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        raise _refused(path, where, "there is no such user, or no home folder") from None
    result = expanded if folder is None else folder / expanded
    check_path(result, where)
    return result


def check_readable(path: Path, where: str) -> None:
    """Refuse a file from which no byte can be read.

    Args:
        path: of an existing file.
        where: the option or the recipe's key, for the message.

    Raises:
        RecipeError: a missing permission, or what only looks like a file (/proc/self/mem).
    """
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as wrong:
        raise RecipeError(
            f"{where}: {path} cannot be read: {wrong.strerror}",
            remedy="Check its permissions, or name another file.",
        ) from None


def _refused(path: str | Path, where: str, reason: str) -> RecipeError:
    text = str(path)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return RecipeError(f"{where}: '{shown}' is no usable path: {reason}", remedy="Correct the path.")
