"""The hub's parquet layout of CIFAR; imported only to read such files, because pyarrow is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from calkd_edge.errors import CalkdError, EnvironmentProblem, RecipeError
from calkd_edge.files.bounded import parse_json
from calkd_edge.files.machine_limits import naming_limits
from calkd_edge.files.recognised import recognised
from calkd_edge.records import IntArray


@dataclass(frozen=True, eq=False)
class ParquetPart:
    """The training or the test part: labels and encoded images.

    Attributes:
        labels: [N] int64.
        classes: name of each class.
        stored: the encoded image of each row.
    """

    labels: IntArray
    classes: tuple[str, ...]
    stored: Any

    def content(self, row: int) -> bytes:
        """The encoded image of a row; empty if the row has none."""
        return self.stored[row].as_py() or b""


def read_part(files: Sequence[Path], *, label_column: str, classes: tuple[str, ...]) -> ParquetPart:
    """The rows of `files`, in order; images stay encoded.

    Args:
        files: parquet files with a column `img` (a struct with `bytes`) and a column of labels.
        label_column: name of the column of labels.
        classes: class names for files whose schema contains none.

    Raises:
        RecipeError: the columns belong to another data set.
        EnvironmentProblem: a file is damaged.
    """
    tables = []
    for file in files:
        try:
            with naming_limits():
                schema = pq.read_schema(file)
                _check_columns(file, schema, label_column)
                tables.append(pq.read_table(file, columns=["img", label_column]))
        except CalkdError:
            raise
        except Exception as wrong:  # beside ArrowException and OSError, whatever damaged bytes lead to
            other = recognised(file) if file.is_file() else None
            raise EnvironmentProblem(
                f"{file} cannot be read: {f'it is {other.what}' if other else wrong}",
                remedy=other.remedy if other else "Download the file again.",
            ) from wrong
    table = pa.concat_tables(tables)
    column = table.column(label_column)
    if column.null_count:
        raise EnvironmentProblem(f"{files[0]} has rows without a label", remedy="Download the file again.")
    labels = column.to_numpy().astype(np.int64)
    names = _class_names(schema.metadata, label_column) or classes
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(names):
        raise EnvironmentProblem(
            f"{files[0]} contains no labels, or labels outside 0..{len(names) - 1}",
            remedy="Download the file again.",
        )
    stored = pa.chunked_array([chunk.field("bytes") for chunk in table.column("img").chunks]).combine_chunks()
    return ParquetPart(labels=labels, classes=names, stored=stored)


def _check_columns(file: Path, schema: Any, label_column: str) -> None:
    if not {"img", label_column} <= set(schema.names):
        raise RecipeError(
            f"data.root: {file} has the columns {', '.join(schema.names)}; "
            f"'img' and '{label_column}' are needed",
            remedy="Name the folder of the data set that the recipe names: --set data.root=DIR",
        )
    images, labels = schema.field("img").type, schema.field(label_column).type
    content = {field.name: field.type for field in images} if pa.types.is_struct(images) else {}
    is_binary = "bytes" in content and content["bytes"] in (pa.binary(), pa.large_binary())
    if not is_binary or not pa.types.is_integer(labels):
        raise RecipeError(
            f"data.root: {file} has 'img' as {str(images)[:80]} and '{label_column}' as {str(labels)[:80]}",
            remedy="'img' must be a struct with encoded images as bytes, and labels whole numbers.",
        )


def _class_names(metadata: dict[bytes, bytes] | None, label_column: str) -> tuple[str, ...]:
    """The names in the schema's `huggingface` entry; empty if there are none."""
    try:
        entry: Any = parse_json((metadata or {})[b"huggingface"])
        names = entry["info"]["features"][label_column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
