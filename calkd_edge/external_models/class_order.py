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
from calkd_edge.onnx_model.class_names import names_in_file, parsed_names, positions_by_name
from calkd_edge.onnx_model.graph import METADATA_PREFIX

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
) -> tuple[Inputs, str, tuple[str, ...]]:
    """The inputs with labels that are positions of the model's classes.

    Args:
        path: of the model, for messages.
        model: whose metadata may name the classes.
        count: C.
        inputs: labels are positions among their own class names.
        classes: the model's, from the command line; stands above the metadata.

    Returns:
        The inputs, with the model's C class names; how the order was determined; and cautions.

    Raises:
        RecipeError: the classes do not fit.
    """
    source, names = ("--classes", classes) if classes is not None else names_in_file(model, count)
    if classes is not None and len(classes) != count:
        raise RecipeError(
            f"--classes has {len(classes)} names, {path} has {count} classes",
            remedy=f"Name all {count}, also those without images: --classes FILE",
        )
    data = inputs.classes
    if not data:
        numbered = names or tuple(str(number) for number in range(count))
        return replace(inputs, classes=numbered), "the labels are positions, 0 is the first class", ()
    if names:
        positions = positions_by_name(names, data)
        known = [position for position in positions if position is not None]
        if len(known) == len(data) == len(set(known)):
            return _relabelled(inputs, names, known, str(source))
        certain = source in ("--classes", f"{METADATA_PREFIX}classes")
        if certain or known or len(data) != count:
            missing = next(name for name, at in zip(data, positions, strict=True) if at is None)
            shown = ", ".join(names[:5]) + (", ..." if count > 5 else "")
            raise RecipeError(
                f"{path} and the data name their classes differently: '{missing}' is none of the model's "
                f"({source}: {shown})",
                remedy=f"Rename the folder, or {NAME_THEM}",
            )
    if len(data) != count:
        raise RecipeError(
            f"{path} has {count} classes, the data have {len(data)}",
            remedy=f"Use the data that the model was trained for, or {NAME_THEM}",
        )
    order = f"by position: class 0 is '{data[0]}', class {count - 1} is '{data[-1]}', the order of the data"
    if not names:
        return inputs, f"{order}; the file names no classes", ()
    caution = (
        f"the file names its classes otherwise than the data ({source}: {names[0]}, ..., {names[-1]}), so "
        f"their order could not be compared. To be sure, {NAME_THEM}"
    )
    return inputs, order, (caution,)


def _relabelled(
    inputs: Inputs, names: tuple[str, ...], positions: list[int], source: str
) -> tuple[Inputs, str, tuple[str, ...]]:
    labels = None if inputs.labels is None else np.asarray(positions, dtype=np.int64)[inputs.labels]
    order = f"by name, as {source} of the file names them" if source != "--classes" else "by name: --classes"
    if len(positions) < len(names):
        order += f"; {len(positions)} of {len(names)} classes have images"
    elif positions != sorted(positions):
        order += ", which is another order than that of the data"
    return replace(inputs, labels=labels, classes=names), order, ()
