"""Saved predictions: logits or probabilities with labels, in .npz or .csv."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.external_models.inputs import as_positions, refuse_other_file
from calkd_edge.files.arrays import read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.metrics.inputs import checked_probabilities
from calkd_edge.onnx_model.score_values import check_logits, rows_sum_to
from calkd_edge.records import FloatArray, IntArray

CSV_EXAMPLE = "label,logit:cat,logit:dog"
EXACT = 1e-4
"""How far a sum of unrounded probabilities lies from 1, at most."""
NPZ_EXAMPLE = "logits [N, C] (or probabilities [N, C]) and labels [N]"


@dataclass(frozen=True)
class SavedPredictions:
    """A classifier's predictions for labelled images.

    Attributes:
        logits: [N, C] float32 or float64; of probabilities, their logarithms.
        labels: [N] int64.
        classes: C names.
        kind: logits or probabilities, as the file names them.
        caution: about the values.
    """

    logits: FloatArray
    labels: IntArray
    classes: tuple[str, ...]
    kind: str = "logits"
    caution: str | None = None


def read_predictions(path: Path) -> SavedPredictions:
    """Logits and labels of a file; the names decide whether they are logits or probabilities.

    Args:
        path: an .npz with the arrays logits or probabilities, and labels; or a .csv whose header is `label`
            and, for each class in order, `logit:NAME` or `probability:NAME`; labels are names or positions.

    Raises:
        RecipeError: no such file, other arrays or columns, or values that contradict their names.
    """
    refuse_other_file(path)
    try:
        if path.suffix == ".npz":
            return _of_npz(path)
        if path.suffix == ".csv":
            return _of_csv(path)
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}", remedy="Check the path.") from None
    except OSError as wrong:
        raise RecipeError(f"{path} cannot be read: {wrong.strerror}", remedy="Check the path.") from None
    raise RecipeError(
        f"{path}: predictions are read from .npz and .csv", remedy=f"Save an .npz with {NPZ_EXAMPLE}."
    )


def _of_npz(path: Path) -> SavedPredictions:
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        raise
    except (Unreadable, OSError) as broken:
        raise RecipeError(
            f"{path} cannot be read: {broken}", remedy="Save it again with numpy.savez."
        ) from None
    names = tuple(str(name) for name in np.atleast_1d(arrays.get("classes", ())))
    _refuse_twice(path, names)
    scores = next((name for name in ("logits", "probabilities") if name in arrays), None)
    if scores is None or "labels" not in arrays:
        raise RecipeError(f"{path} contains {', '.join(arrays) or 'nothing'}", remedy=f"Save {NPZ_EXAMPLE}.")
    if arrays[scores].ndim == 0 or arrays["labels"].ndim == 0:
        raise RecipeError(f"{path}: one number is no list of predictions", remedy=f"Save {NPZ_EXAMPLE}.")
    labels = arrays["labels"]
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all():  # whole, as 2.0
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu":
        labels = as_positions(labels, path)
    return _checked(path, scores, arrays[scores], labels, names)


def _of_csv(path: Path) -> SavedPredictions:
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = _delimiter(text)
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as broken:
        raise RecipeError(f"{path} cannot be read: {broken}", remedy="Save it as UTF-8.") from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    parted = [cell.partition(":") for cell in head]
    kinds = {kind for kind, colon, _ in parted if colon}
    wrong = [
        cell for cell, (kind, colon, _) in zip(head, parted, strict=True) if not colon and kind != "label"
    ]
    if head.count("label") != 1 or len(kinds) != 1 or not kinds <= {"logit", "probability"} or wrong:
        raise RecipeError(
            f"{path}: the header is {','.join(head[:6])}{',…' if len(head) > 6 else ''}",
            remedy=f"Write {CSV_EXAMPLE} (or probability:…), one line for each image.",
        )
    classes = tuple(name for _, colon, name in parted if colon)
    _refuse_twice(path, classes)
    label_column = head.index("label")
    scores, written = [], []
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue  # a blank line, as spreadsheets leave at the end
        if len(row) != len(head):
            raise RecipeError(
                f"{path}, line {line} has {max(0, len(row) - 1)} numbers for {len(classes)} classes",
                remedy="Write one number for each column.",
            )
        written.append((line, row[label_column].strip()))
        scores.append(
            [
                _number(path, line, head[at], row[at], point="." if delimiter == "," else ",")
                for at in range(len(row))
                if at != label_column
            ]
        )
    kind = "logits" if kinds == {"logit"} else "probabilities"
    labels = np.array(_labels(path, written, classes), dtype=np.int64)
    return _checked(path, kind, np.array(scores, dtype=np.float64), labels, classes)


def _delimiter(text: str) -> str:
    """The character that separates cells: that which the header holds most often."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _labels(path: Path, written: Sequence[tuple[int, str]], classes: tuple[str, ...]) -> list[int]:
    """The classes' positions of labels (line, text), each written as a name or as a position.

    Where a name of one class is the position of another, all labels are one or the other.

    Raises:
        RecipeError: a label is neither, or they could be both.
    """
    by_name = {name: position for position, name in enumerate(classes)}
    named = [by_name.get(text) for _, text in written]
    counted = [_position(text, len(classes)) for _, text in written]
    labels = []
    for (line, text), name, count in zip(written, named, counted, strict=True):
        position = count if name is None else name
        if position is None:
            shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise RecipeError(
                f"{path}, line {line}: the label '{text}' is none of the {len(classes)} classes ({shown})",
                remedy=f"Write the name of a class, or its position 0..{len(classes) - 1}.",
            )
        labels.append(position)
    if all(_position(name, len(classes)) in (None, position) for name, position in by_name.items()):
        return labels
    if (None in named) == (None in counted):
        raise RecipeError(
            f"{path}: a label can be the name of one class and the position of another, from 0 on",
            remedy="Name the classes by words in header and labels: class_1 instead of 1.",
        )
    return [label for label in (counted if None in named else named) if label is not None]


def _position(text: str, classes: int) -> int | None:
    """A whole number, also written as 2.0, that is the position of a class; else None."""
    try:
        number = float(text)
        position = int(number)
    except (ValueError, OverflowError):
        return None
    return position if position == number and 0 <= position < classes else None


def _number(path: Path, line: int, column: str, text: str, *, point: str) -> float:
    """A number; `point` may stand for its decimal point: a comma, where no comma separates the cells."""
    try:
        return float(text.strip().replace(point, "."))
    except ValueError:
        raise RecipeError(
            f"{path}, line {line}: '{text}' in column {column} is not a number",
            remedy="Write a label, and a number for each class.",
        ) from None


def _refuse_twice(path: Path, classes: tuple[str, ...]) -> None:
    twice = next((name for name, count in Counter(classes).items() if count > 1), None)
    if twice is not None:
        raise RecipeError(f"{path} names the class '{twice}' twice", remedy="Name each class once.")


def _checked(
    path: Path, kind: str, scores: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> SavedPredictions:
    caution = None
    if kind == "probabilities":
        scores, labels, caution = _of_probabilities(path, scores, labels)
    elif scores.dtype == np.float16:  # exact; sums in float16 are not
        scores = scores.astype(np.float32)
    if kind == "logits" and scores.ndim == 2 and scores.dtype.kind == "f":
        instead = "probability:NAME in the header" if path.suffix == ".csv" else "probabilities"
        caution = check_logits(
            scores,
            f"{path.name}: {kind}",
            insisted=False,
            remedy=f"Save them under the name {instead}.",
            per_cent=f"Divide them by 100 and save them under the name {instead}.",
        )
    if scores.ndim == 2 and names and len(names) != scores.shape[1]:
        raise RecipeError(
            f"{path} names {len(names)} classes for {scores.shape[1]} columns",
            remedy="Leave classes out, or name each.",
        )
    classes = names or tuple(str(number) for number in range(scores.shape[-1] if scores.ndim else 0))
    return SavedPredictions(scores, labels, classes, kind, caution)


def _of_probabilities(
    path: Path, scores: np.ndarray, labels: np.ndarray
) -> tuple[FloatArray, IntArray, str | None]:
    """Logarithms, checked labels, and a caution about rounding."""
    caution = None
    try:
        if scores.ndim == 2 and scores.dtype.kind == "f" and len(scores):
            if rows_sum_to(scores, 100.0):
                raise ValueError("every row sums to 100: these are per cents; divide them by 100")
            sums = scores.sum(axis=1, dtype=np.float64)
            if rows_sum_to(scores, 1.0) and np.abs(sums - 1).max() > EXACT:
                caution = (
                    f"{path.name}: rows sum to {sums.min():.5g}..{sums.max():.5g}, as rounded numbers do; "
                    "each was divided by its sum"
                )
                scores = scores / sums[:, None]
        values, checked_labels = checked_probabilities(scores, labels)
        of_labels = values[np.arange(len(checked_labels)), checked_labels]
        if (of_labels == 0).any():
            raise ValueError(
                f"{int((of_labels == 0).sum())} images have probability 0 for their label, so NLL is "
                "infinite; save logits instead"
            )
    except ValueError as wrong:
        raise RecipeError(f"{path}: {wrong}", remedy=f"Save {NPZ_EXAMPLE}.") from None
    with np.errstate(divide="ignore"):
        return np.log(values), checked_labels, caution
