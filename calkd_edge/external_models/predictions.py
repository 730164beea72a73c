"""Saved predictions: logits or probabilities with labels, in .npz or .csv."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.metrics.inputs import checked_probabilities
from calkd_edge.records import FloatArray, IntArray

CSV_EXAMPLE = "label,logit:cat,logit:dog"
NPZ_EXAMPLE = "logits [N, C] (or probabilities [N, C]) and labels [N]"


@dataclass(frozen=True)
class SavedPredictions:
    """A classifier's predictions for labelled images.

    Attributes:
        logits: [N, C] float32 or float64; of probabilities, their logarithms.
        labels: [N] int64.
        classes: C names.
    """

    logits: FloatArray
    labels: IntArray
    classes: tuple[str, ...]


def read_predictions(path: Path) -> SavedPredictions:
    """Logits and labels of a file; the names decide whether they are logits or probabilities.

    Args:
        path: an .npz with the arrays logits or probabilities, and labels; or a .csv whose header is `label`
            and, for each class in order, `logit:NAME` or `probability:NAME`; labels are names or positions.

    Raises:
        RecipeError: no such file, other arrays or columns, or values that contradict their names.
    """
    try:
        if path.suffix == ".npz":
            return _of_npz(path)
        if path.suffix == ".csv":
            return _of_csv(path)
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}", remedy="Check the path.") from None
    raise RecipeError(
        f"{path}: predictions are read from .npz and .csv", remedy=f"Save an .npz with {NPZ_EXAMPLE}."
    )


def _of_npz(path: Path) -> SavedPredictions:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as broken:
        raise RecipeError(
            f"{path} cannot be read: {broken}", remedy="Save it again with numpy.savez."
        ) from None
    names = tuple(str(name) for name in np.atleast_1d(arrays.get("classes", ())))
    scores = next((name for name in ("logits", "probabilities") if name in arrays), None)
    if scores is None or "labels" not in arrays:
        raise RecipeError(f"{path} contains {', '.join(arrays) or 'nothing'}", remedy=f"Save {NPZ_EXAMPLE}.")
    return _checked(path, scores, arrays[scores], arrays["labels"], names)


def _of_csv(path: Path) -> SavedPredictions:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.reader(text))
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
    label_column = head.index("label")
    position = {name: number for number, name in enumerate(classes)}
    scores, labels = [], []
    for line, row in enumerate(rows[1:], start=2):
        try:
            label = row[label_column].strip()
            labels.append(position[label] if label in position else int(label))
            scores.append([float(cell) for column, cell in enumerate(row) if column != label_column])
        except (ValueError, IndexError):
            raise RecipeError(
                f"{path}, line {line}: {','.join(row[:6])}",
                remedy="Write a label, and a number for each class.",
            ) from None
        if len(scores[-1]) != len(classes):
            raise RecipeError(
                f"{path}, line {line} has {len(scores[-1])} numbers for {len(classes)} classes",
                remedy="Write one number for each column.",
            )
    kind = "logits" if kinds == {"logit"} else "probabilities"
    return _checked(path, kind, np.array(scores, dtype=np.float64), np.array(labels), classes)


def _checked(
    path: Path, kind: str, scores: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> SavedPredictions:
    try:
        if kind == "probabilities":
            values, checked_labels = checked_probabilities(scores, labels)
            of_labels = values[np.arange(len(checked_labels)), checked_labels]
            if (of_labels == 0).any():
                raise ValueError(
                    f"{int((of_labels == 0).sum())} images have probability 0 for their label, so NLL is "
                    "infinite; save logits instead"
                )
            with np.errstate(divide="ignore"):
                scores, labels = np.log(values), checked_labels
        elif scores.dtype == np.float16:  # exact; sums in float16 are not
            scores = scores.astype(np.float32)
    except ValueError as wrong:
        raise RecipeError(f"{path}: {wrong}", remedy=f"Save {NPZ_EXAMPLE}.") from None
    if scores.ndim == 2 and names and len(names) != scores.shape[1]:
        raise RecipeError(
            f"{path} names {len(names)} classes for {scores.shape[1]} columns",
            remedy="Leave classes out, or name each.",
        )
    classes = names or tuple(str(number) for number in range(scores.shape[-1] if scores.ndim else 0))
    return SavedPredictions(scores, labels, classes)
