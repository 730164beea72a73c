"""The class names that a file holds, in the forms that exporters write them, and their comparison."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import parse_json
from calkd_edge.onnx_model.graph import METADATA_PREFIX, class_names

_KEYS = ("names", "id2label", "classes", "class_names", "labels", "label_names", "class_labels", "vocab")
_INVERSE_KEYS = ("label2id", "class_to_idx")


def names_in_file(model: onnx.ModelProto, count: int) -> tuple[str | None, tuple[str, ...]]:
    """The entry of the file that names its `count` classes, and the names in order; (None, ()) without one.

    Read are our own metadata, metadata as other tools write it (a list, or an object from position to name
    or from name to position, as JSON or as Python writes it, or names on lines or between commas), and the
    names in the last operator of classical models. An entry with another number of names is not of classes.

    Raises:
        RecipeError: our own entry is not a list of names.
    """
    ours = class_names(model)
    if ours:
        return f"{METADATA_PREFIX}classes", ours
    entries = {item.key.lower(): (item.key, item.value) for item in model.metadata_props}
    for key in (*_KEYS, *_INVERSE_KEYS):
        if key in entries:
            names = parsed_names(entries[key][1])
            if len(names) == count and len(set(names)) == count:
                return entries[key][0], names
    for node in model.graph.node:
        for item in node.attribute:
            if item.name == "classlabels_strings" and len(item.strings) == count:
                return f"{node.op_type}.classlabels_strings", tuple(
                    text.decode("utf-8", "replace") for text in item.strings
                )
    return None, ()


def parsed_names(text: str) -> tuple[str, ...]:
    """Names in order, of a list or an object as JSON or as Python writes it, of lines, or between commas."""
    value: object = None
    for reader in (parse_json, ast.literal_eval):
        try:
            value = reader(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        break
    if isinstance(value, Mapping):
        return _in_order(value)
    if isinstance(value, list | tuple):
        nested = any(isinstance(name, list | tuple | Mapping) for name in value)
        return () if nested else tuple(str(name) for name in value)
    separator = "\n" if "\n" in text.strip() else ","
    return tuple(name.strip() for name in text.split(separator) if name.strip())


def _in_order(value: Mapping[object, object]) -> tuple[str, ...]:
    """The names of an object from position to name, or from name to position; () if it is neither."""
    for pairs in (value.items(), ((number, name) for name, number in value.items())):
        try:
            by_position = {int(str(number)): str(name) for number, name in pairs}
        except ValueError:
            continue
        if sorted(by_position) == list(range(len(value))):
            return tuple(by_position[number] for number in range(len(value)))
    return ()


def spelling(name: str) -> str:
    """A name without what folders cannot hold or people write differently: case, blanks and signs.

    Example:
        >>> spelling("T-shirt/top") == spelling("t_shirt top")
        True
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", " ", plain).strip() or plain


def positions_by_name(names: Sequence[str], data: Sequence[str]) -> tuple[int | None, ...]:
    """For each name of the data its position among the model's names; None where it has none.

    Names are compared as they are, then by `spelling` where that is unambiguous on both sides.
    """
    exact = {name: position for position, name in enumerate(names)}
    spelled: dict[str, int | None] = {}
    for position, name in enumerate(names):
        spelled[spelling(name)] = None if spelling(name) in spelled else position
    counts = [spelling(name) for name in data]
    return tuple(
        exact[name]
        if name in exact
        else (spelled.get(spelling(name)) if counts.count(spelling(name)) == 1 else None)
        for name in data
    )


@dataclass(frozen=True)
class ClassOrder:
    """Which of a file's classes each class of the data is.

    Attributes:
        positions: among the file's classes, for each class of the data.
        how: how that was determined, in words.
        caution: why it may be wrong; None where names say it.
        names: of the file's classes, where they are those of the data.
    """

    positions: tuple[int, ...]
    how: str
    caution: str | None = None
    names: tuple[str, ...] = ()

    @property
    def is_other(self) -> bool:
        """Whether the file has its classes in another order than the data."""
        return self.positions != tuple(range(len(self.positions)))


def class_order(
    path: Path,
    model: onnx.ModelProto,
    count: int,
    data: Sequence[str],
    *,
    given: Sequence[str] | None,
    option: str,
    way: str,
) -> ClassOrder:
    """The classes of the data among the `count` classes of a file: by name, else by position.

    Args:
        path: of the file, for messages.
        model: whose metadata may name the classes.
        count: C of the file; by name the data may lack some of them.
        data: names of the data's classes; none where the labels are positions.
        given: names of the file's classes by its user; they stand above the metadata.
        option: by which the user gives them.
        way: how to give them, for messages.

    Raises:
        RecipeError: the file does not have `count` names, or some are the data's and others are not, or names
            that were given or are ours do not fit.
    """
    source, names = (option, tuple(given)) if given is not None else names_in_file(model, count)
    if source and len(names) != count:
        raise RecipeError(
            f"{source} has {len(names)} names, {path} has {count} classes",
            remedy=f"Name all {count}, also those without images: {way}",
        )
    if not data:
        return ClassOrder(tuple(range(count)), "the labels are positions, 0 is the first class", names=names)
    positions = positions_by_name(names, data)
    known = [position for position in positions if position is not None]
    if len(set(known)) == len(data):
        how = f"by name, as {source} has them"
        if len(data) < count:
            how += f"; {len(data)} of {count} classes have images"
        elif known != sorted(known):
            how += ", in another order than the data"
        return ClassOrder(tuple(known), how, names=names)
    if names and (known or len(data) != count or source in (option, f"{METADATA_PREFIX}classes")):
        missing = next((name for name, at in zip(data, positions, strict=True) if at is None), data[0])
        shown = ", ".join(names[:5]) + (", ..." if count > 5 else "")
        raise RecipeError(
            f"{path} and the data name their classes differently: '{missing}' is none of the file's {count} "
            f"({source}: {shown})",
            remedy=f"Rename the class folder, or {way}",
        )
    if len(data) != count:
        raise RecipeError(
            f"{path} has {count} classes, the data have {len(data)}",
            remedy=f"Use the data that the model was trained for, or {way}",
        )
    how = f"by position: class 0 is '{data[0]}', class {count - 1} is '{data[-1]}', the order of the data"
    if not names:
        return ClassOrder(tuple(range(count)), f"{how}; the file names no classes")
    caution = (
        f"the file names its classes otherwise than the data ({source}: {names[0]}, ..., {names[-1]}), so "
        f"their order could not be compared. To be sure, {way}"
    )
    return ClassOrder(tuple(range(count)), how, caution)
