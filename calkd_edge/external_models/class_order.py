"""Which of a model's classes each class of the data is: by name where the model names its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.errors import RecipeError
from calkd_edge.external_models.inputs import Inputs
from calkd_edge.files.recognised import recognised
from calkd_edge.onnx_model.class_names import ClassOrder, class_order, parsed_names

NAME_THEM = "write the names of the class folders in the model's order, one on each line: --classes FILE"


def read_classes(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in order: of a text file with one on each line or a JSON list or object, or as given.

    Raises:
        RecipeError: there is no such file, it is not text, or a name is given twice.
    """
    if isinstance(classes, str | Path):
        path = Path(classes)
        if not path.is_file():
            raise RecipeError(f"--classes: there is no file {path}", remedy="Check the path after --classes.")
        other = recognised(path)
        if other is not None:
            raise RecipeError(f"--classes: {path} is {other.what}", remedy=other.remedy)
        try:
            names = parsed_names(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as broken:
            raise RecipeError(
                f"--classes: {path} cannot be read: {broken}", remedy="Save it as UTF-8."
            ) from None
    else:
        names = tuple(classes)
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise RecipeError(f"--classes: '{twice}' stands there twice", remedy="Name each class once.")
    return names


def in_model_order(
    path: Path, model: onnx.ModelProto, count: int, inputs: Inputs, classes: tuple[str, ...] | None
) -> tuple[Inputs, ClassOrder]:
    """The inputs with labels that are positions of the model's classes, whose names they get.

    Args:
        path: of the model, for messages.
        model: whose metadata may name the classes.
        count: C.
        inputs: labels are positions among their own class names.
        classes: the model's, from the command line; stands above the metadata.

    Raises:
        RecipeError: the classes do not fit.
    """
    order = class_order(path, model, count, inputs.classes, given=classes, option="--classes", way=NAME_THEM)
    names = order.names or inputs.classes or tuple(str(number) for number in range(count))
    labels = inputs.labels
    if labels is not None and inputs.classes:
        labels = np.asarray(order.positions, dtype=np.int64)[labels]
    return replace(inputs, labels=labels, classes=names), order
