"""What model files say of themselves, against the report of their release."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from calkd_edge.benchmarking.sources import report_in
from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import read_bounded
from calkd_edge.files.zipped import opened_zip, pieces
from calkd_edge.onnx_model.graph import class_names, metadata
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.records import Report
from calkd_edge.release.contents import MODELS, read_report
from calkd_edge.release.report.report import JSON_NAME


def contradicted_claims(release: Path) -> list[str]:
    """A sentence for each ONNX file whose metadata name another precision or other classes than its report.

    Args:
        release: a folder or a bundle whose checksums are right.
    """
    if release.is_dir():
        files = {path.name: path for path in sorted((release / MODELS).glob("*.onnx"))}
        return _contradicted(read_report(read_bounded(release / JSON_NAME)), files)
    with opened_zip(release) as archive, tempfile.TemporaryDirectory(prefix="calkd-verify-") as folder:
        files = {name: Path(folder) / name for name in archive.namelist() if name.endswith(".onnx")}
        for name, path in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.writelines(pieces(archive, name))
        return _contradicted(report_in(archive, release), files)


def _contradicted(report: Report, files: Mapping[str, Path]) -> list[str]:
    prefixes = {f"{row.model}.{row.precision}.": row.precision for row in report.measurements}
    classes = report.data.get("classes")
    problems = []
    for name, path in files.items():
        precision = next((value for prefix, value in prefixes.items() if name.startswith(prefix)), None)
        try:
            model = read_onnx(path)
            precision_named, names = metadata(model).get("precision"), list(class_names(model))
        except RecipeError as wrong:
            problems.append(wrong.message.replace(str(path), name))
            continue
        if precision_named != precision:
            problems.append(
                f"{name} says that its precision is {precision_named}, {JSON_NAME} says {precision}"
            )
        if names != classes:
            problems.append(f"{name} names other classes than {JSON_NAME}, or in another order")
    return problems
