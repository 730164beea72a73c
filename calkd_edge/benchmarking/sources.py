"""The files to time: every precision of a finished run or of its bundle, or one ONNX file."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.export.artifacts import CANONICAL, converted_file, executed_file
from calkd_edge.export.converters import converter_of
from calkd_edge.files import sha256_of
from calkd_edge.files.bounded import MOST_JSON_BYTES, Unreadable, bounded_json, read_bounded
from calkd_edge.files.paths import check_path
from calkd_edge.files.zipped import is_zip, opened_zip, pieces, read_member
from calkd_edge.onnx_model.graph import metadata
from calkd_edge.onnx_model.read import external_files, read_onnx
from calkd_edge.records import Measurement, Report, TimedSource
from calkd_edge.release.contents import BUNDLE, MODELS, check_not_unpacked
from calkd_edge.release.report.report import JSON_NAME
from calkd_edge.release.verification import problems_of

PLAIN_NAME = re.compile(r"\w[\w .+-]{0,60}", re.ASCII)
WAYS = (
    "Name one: calkd-edge benchmark RUN, MODEL.onnx or bundle.zip; a run is made by calkd-edge compress "
    "--recipe RECIPE."
)


@dataclass(frozen=True)
class Source:
    """Files, arranged as stages arrange their folders.

    Attributes:
        origin: kind and path.
        folders: by precision, a folder with model.onnx and the files derived from it.
        report: of the run; None for a single file.
        bundle: a zip with golden inputs; None if there is none.
    """

    origin: TimedSource
    folders: dict[str, Path]
    report: Report | None = None
    bundle: Path | None = None

    def name_of(self, precision: str, path: Path) -> str:
        """The published name of a file in a precision's folder; a single file keeps its stem."""
        prefix = f"{Path(self.origin.path).stem}." if self.report is None else _prefix(precision)
        return path.name.replace("model.", prefix, 1)

    def measurement(self, precision: str, device: str, runtime: str) -> Measurement | None:
        """The run's measurement of a precision: on this device, else on any device."""
        rows = [
            row
            for row in (self.report.measurements if self.report else ())
            if (row.model, row.precision, row.calibrated) == ("student", precision, True)
            and row.quality is not None
        ]
        return min(rows, key=lambda row: (row.device, row.runtime) != (device, runtime), default=None)

    def file_for(self, precision: str, device: str, runtime: str) -> tuple[Path, dict[str, Any]]:
        """The file of a precision that a runtime executes, and the options of the run's recipe for it.

        A converted file that no run has made is made here.

        Raises:
            StageFailed: an operator has no counterpart in that runtime.
        """
        devices: Any = self.report.recipe.get("devices") if self.report else None
        matching = [item for item in devices or () if (item["name"], item["runtime"]) == (device, runtime)]
        options = dict(matching[0].get("options") or {}) if matching else {}
        folder = self.folders[precision]
        if not RUNTIMES[runtime].is_converted:
            return executed_file(folder, runtime, options), options
        path = folder / converted_file(runtime)
        if not path.is_file():
            path.write_bytes(converter_of(runtime).convert(read_onnx(folder / CANONICAL)))
        return path, options

    def unproven(self, runtime: str) -> tuple[str, ...]:
        """Precisions whose file for a runtime no run has made, so that no run has compared its outputs."""
        if not RUNTIMES[runtime].is_converted:
            return ()
        file = converted_file(runtime)
        return tuple(name for name, folder in self.folders.items() if not (folder / file).is_file())


def newest_run(root: Path) -> Path:
    """The folder below `root` with the newest report.

    Raises:
        RecipeError: there is none.
    """
    reports = [path for path in root.glob(f"*/{JSON_NAME}") if path.is_file()]
    if not reports:
        raise RecipeError(f"no model is given, and there is no finished run in ./{root}", remedy=WAYS)
    return max(reports, key=lambda path: path.stat().st_mtime_ns).parent


def open_source(path: Path, work: Path, precisions: Sequence[str] = ()) -> Source:
    """A run's folder, a bundle or an ONNX file, its files copied into `work`.

    Args:
        path: of the run, bundle or file.
        work: an empty folder.
        precisions: only these; all when empty.

    Raises:
        RecipeError: it is none of these, or it has no such precision.
        EnvironmentProblem: a file was changed since it was measured, or a bundle is damaged.
    """
    check_path(path, "the model")
    check_not_unpacked(path)
    if path.is_dir() and (path / JSON_NAME).is_file():
        return _run(path, work, precisions)
    if path.is_file() and path.suffix == ".onnx":
        return _file(path, work, precisions)
    if path.is_file() and is_zip(path):
        return _bundle(path, work, precisions)
    problem = "does not exist" if not path.exists() else "is no finished run, no bundle and no ONNX file"
    raise RecipeError(f"{path} {problem}", remedy=WAYS)


def _run(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    report = _report(partial(read_bounded, path / JSON_NAME), path / JSON_NAME)
    files = {file.name: file for file in sorted((path / MODELS).glob("student.*"))}
    folders = {}
    for precision in _chosen(report, precisions, path):
        folders[precision] = work / precision
        for name, target in _targets(files, precision, folders[precision]):
            shutil.copyfile(files[name], target)
    _check_complete(report, folders, path)
    bundle = path / BUNDLE
    origin = TimedSource(kind="run", path=str(path.resolve()))
    return Source(origin, folders, report, bundle if bundle.is_file() else None)


def _bundle(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    problems = problems_of(path)
    if problems:
        raise EnvironmentProblem(
            f"{path} is damaged: {problems[0]}", remedy="Fetch it again, or make it again."
        )
    folders = {}
    with opened_zip(path) as archive:
        report = report_in(archive, path)
        for precision in _chosen(report, precisions, path):
            folders[precision] = work / precision
            for name, target in _targets(archive.namelist(), precision, folders[precision]):
                with target.open("wb") as handle:
                    handle.writelines(pieces(archive, name))
    _check_complete(report, folders, path)
    return Source(TimedSource(kind="bundle", path=str(path.resolve())), folders, report, path)


def _file(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    model = read_onnx(path)
    precision = metadata(model).get("precision") or "as given"
    _check_names([precision], path)
    _check_known(precisions, [precision], path)
    folder = work / precision
    folder.mkdir(parents=True)
    if external_files(path):
        (folder / CANONICAL).write_bytes(model.SerializeToString())
    else:
        shutil.copyfile(path, folder / CANONICAL)
    return Source(TimedSource(kind="file", path=str(path.resolve())), {precision: folder})


def report_in(archive: zipfile.ZipFile, where: Path) -> Report:
    """The report of a bundle.

    Raises:
        RecipeError: there is none, or it is damaged.
    """
    return _report(partial(read_member, archive, JSON_NAME, MOST_JSON_BYTES), where)


def _report(read: Callable[[], bytes], where: Path) -> Report:
    try:
        return Report.model_validate_json(bounded_json(read()))
    except Unreadable as wrong:
        raise RecipeError(f"{where}: its report cannot be read: {wrong}", remedy="Fetch it again.") from None
    except ValidationError as wrong:
        first = wrong.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RecipeError(
            f"{where}: its report is not valid: {key}: {first['msg']}",
            remedy="Run the recipe again with this calkd-edge, or name one of its ONNX files.",
        ) from None


def _chosen(report: Report, requested: Sequence[str], where: Path) -> list[str]:
    """The precisions to time, in the report's order."""
    available = list(dict.fromkeys(row.precision for row in report.measurements if row.model == "student"))
    _check_names(available, where)
    _check_known(requested, available, where)
    return [precision for precision in available if precision in requested or not requested]


def _check_names(precisions: Sequence[str], where: Path) -> None:
    """Precisions become names of folders: only plain words are allowed."""
    for name in precisions:
        if not PLAIN_NAME.fullmatch(name):
            raise RecipeError(
                f"{where}: its precision is called {name[:80]!r}, which is not a valid name",
                remedy="This calkd-edge never writes such a name: do not trust where the file comes from.",
            )


def _check_known(requested: Sequence[str], available: Sequence[str], where: Path) -> None:
    for name in requested:
        if name not in available:
            raise RecipeError(
                f"--precision {name}: {where} has none",
                remedy=f"{did_you_mean(name, available)}It has: {', '.join(available)}.",
            )


def _prefix(precision: str) -> str:
    return f"student.{precision}."


def _targets(names: Iterable[str], precision: str, folder: Path) -> list[tuple[str, Path]]:
    """Published names of a precision's files, and their targets; engines fit one device and are left out."""
    folder.mkdir(parents=True)
    files = [name for name in names if name.startswith(_prefix(precision)) and Path(name).name == name]
    return [
        (name, folder / name.replace(_prefix(precision), "model.", 1))
        for name in files
        if name.endswith(tuple(info.suffix for info in RUNTIMES.values() if not info.is_compiled))
    ]


def _check_complete(report: Report, folders: dict[str, Path], where: Path) -> None:
    """Check that every precision has its file, and that measured files are unchanged."""
    for precision, folder in folders.items():
        if not (folder / CANONICAL).is_file():
            raise EnvironmentProblem(
                f"{where}: {_prefix(precision)}onnx is missing", remedy="Run the recipe again."
            )
    for row in report.measurements:
        if row.model != "student" or not row.sha256 or row.precision not in folders:
            continue
        file = folders[row.precision] / row.file.replace(_prefix(row.precision), "model.", 1)
        if file.is_file() and sha256_of(file) != row.sha256:
            raise EnvironmentProblem(
                f"{where}: {row.file} is not the file that the report measured: its SHA-256 differs",
                remedy="Run the recipe again.",
            )
