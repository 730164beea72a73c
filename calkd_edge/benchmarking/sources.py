"""What is timed: every precision of a finished run or of its bundle, or one ONNX file."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.export.artifacts import CANONICAL, converted_file, executed_file
from calkd_edge.export.converters import converter_of
from calkd_edge.files import sha256_of
from calkd_edge.onnx_model.graph import metadata
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.records import Measurement, Report, TimedSource
from calkd_edge.release.bundle import verify_bundle

REPORT, MODELS, BUNDLE = "report.json", "models", "bundle.zip"
PLAIN_NAME = re.compile(r"\w[\w .+-]{0,60}", re.ASCII)
WAYS = (
    "Name one: calkd-edge benchmark RUN, MODEL.onnx or bundle.zip; a run is made by calkd-edge compress "
    "--recipe RECIPE."
)


@dataclass(frozen=True)
class Source:
    """What was given, laid out as stages lay out their folders.

    Attributes:
        told: kind and path.
        folders: by precision, a folder with model.onnx and what was derived from it.
        report: of the run; None for a single file.
        bundle: a zip with golden inputs, where there is one.
    """

    told: TimedSource
    folders: dict[str, Path]
    report: Report | None = None
    bundle: Path | None = None

    def name_of(self, precision: str, path: Path) -> str:
        """The published name of a file in a precision's folder; of a lone file, its own or what it became."""
        prefix = f"{Path(self.told.path).stem}." if self.report is None else _prefix(precision)
        return path.name.replace("model.", prefix, 1)

    def measurement(self, precision: str, device: str, runtime: str) -> Measurement | None:
        """What the run's report says of a precision: on this device, else on any."""
        found = [
            one
            for one in (self.report.measurements if self.report else ())
            if (one.model, one.precision, one.calibrated) == ("student", precision, True)
            and one.quality is not None
        ]
        return min(found, key=lambda one: (one.device, one.runtime) != (device, runtime), default=None)

    def runs(self, precision: str, device: str, runtime: str) -> tuple[Path, dict[str, Any]]:
        """The one file of a precision that a runtime executes, and what the run's recipe opens it with.

        One that the runtime wants converted and that no run made is converted here.

        Raises:
            StageFailed: an operator has no counterpart in that runtime.
        """
        devices: Any = self.report.recipe.get("devices") if self.report else None
        there = [one for one in devices or () if (one["name"], one["runtime"]) == (device, runtime)]
        options = dict(there[0].get("options") or {}) if there else {}
        folder = self.folders[precision]
        if not RUNTIMES[runtime].is_converted:
            return executed_file(folder, runtime, options), options
        path = folder / converted_file(runtime)
        if not path.is_file():
            path.write_bytes(converter_of(runtime).convert(read_onnx(folder / CANONICAL)))
        return path, options

    def unproven(self, runtime: str) -> tuple[str, ...]:
        """Precisions whose file for a runtime is yet to be made, so that no run has held its answers."""
        if not RUNTIMES[runtime].is_converted:
            return ()
        name = converted_file(runtime)
        return tuple(one for one, folder in self.folders.items() if not (folder / name).is_file())


def newest_run(root: Path) -> Path:
    """The folder below `root` whose report was written last.

    Raises:
        RecipeError: there is none.
    """
    reports = [path for path in root.glob(f"*/{REPORT}") if path.is_file()]
    if not reports:
        raise RecipeError(f"no model is named, and there is no finished run in ./{root}", remedy=WAYS)
    return max(reports, key=lambda path: path.stat().st_mtime_ns).parent


def open_source(path: Path, work: Path, precisions: Sequence[str] = ()) -> Source:
    """A run's folder, a bundle or an ONNX file, its files copied into `work`.

    Args:
        path: as given.
        work: an empty folder.
        precisions: only these; all where none is named.

    Raises:
        RecipeError: it is none of these, or has no such precision.
        EnvironmentProblem: a file was changed since it was measured, or a bundle is damaged.
    """
    if path.is_dir() and (path / REPORT).is_file():
        return _run(path, work, precisions)
    if path.is_file() and path.suffix == ".onnx":
        return _file(path, work, precisions)
    if path.is_file() and zipfile.is_zipfile(path):
        return _bundle(path, work, precisions)
    what = "is not there" if not path.exists() else "is no finished run, no bundle and no ONNX file"
    raise RecipeError(f"{path} {what}", remedy=WAYS)


def _run(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    report = _report((path / REPORT).read_bytes(), path / REPORT)
    files = {one.name: one for one in sorted((path / MODELS).glob("student.*"))}
    folders = {}
    for precision in _chosen(report, precisions, path):
        folders[precision] = work / precision
        for name, target in _targets(files, precision, folders[precision]):
            shutil.copyfile(files[name], target)
    _check_whole(report, folders, path)
    bundle = path / BUNDLE
    told = TimedSource(kind="run", path=str(path.resolve()))
    return Source(told, folders, report, bundle if bundle.is_file() else None)


def _bundle(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    problems = verify_bundle(path)
    if problems:
        raise EnvironmentProblem(
            f"{path} is not as it was written: {problems[0]}", remedy="Fetch it again, or make it anew."
        )
    folders = {}
    with zipfile.ZipFile(path) as archive:
        report = _report(archive.read(REPORT), path)
        for precision in _chosen(report, precisions, path):
            folders[precision] = work / precision
            for name, target in _targets(archive.namelist(), precision, folders[precision]):
                with archive.open(name) as content, target.open("wb") as handle:
                    _copy(content, handle)
    _check_whole(report, folders, path)
    return Source(TimedSource(kind="bundle", path=str(path.resolve())), folders, report, path)


def _file(path: Path, work: Path, precisions: Sequence[str]) -> Source:
    model = read_onnx(path)
    precision = metadata(model).get("precision") or "as given"
    _check_names([precision], path)
    _known(precisions, [precision], path)
    folder = work / precision
    folder.mkdir(parents=True)
    if model.ByteSize() > 1.01 * path.stat().st_size:  # its numbers lie beside it
        (folder / CANONICAL).write_bytes(model.SerializeToString())
    else:
        shutil.copyfile(path, folder / CANONICAL)
    return Source(TimedSource(kind="file", path=str(path.resolve())), {precision: folder})


def _report(content: bytes, where: Path) -> Report:
    try:
        return Report.model_validate_json(content)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(
            f"{where}: its report is not understood: {place}: {first['msg']}",
            remedy="Run the recipe again with this calkd-edge, or name one of its ONNX files.",
        ) from None


def _chosen(report: Report, wanted: Sequence[str], where: Path) -> list[str]:
    """The precisions to time, in the report's order."""
    there = list(dict.fromkeys(one.precision for one in report.measurements if one.model == "student"))
    _check_names(there, where)
    _known(wanted, there, where)
    return [precision for precision in there if precision in wanted or not wanted]


def _check_names(precisions: Sequence[str], where: Path) -> None:
    """What a file says of itself becomes a folder's name: only a plain word may."""
    for name in precisions:
        if not PLAIN_NAME.fullmatch(name):
            raise RecipeError(
                f"{where}: it calls its precision {name[:80]!r}, which is no name of one",
                remedy="This calkd-edge never writes such a name: do not trust where the file comes from.",
            )


def _known(wanted: Sequence[str], there: Sequence[str], where: Path) -> None:
    for name in wanted:
        if name not in there:
            raise RecipeError(
                f"--precision {name}: {where} has none",
                remedy=f"{did_you_mean(name, there)}It has: {', '.join(there)}.",
            )


def _prefix(precision: str) -> str:
    return f"student.{precision}."


def _targets(names: Iterable[str], precision: str, folder: Path) -> list[tuple[str, Path]]:
    """Published names of a precision's files, and where each goes; engines fit one device and stay."""
    folder.mkdir(parents=True)
    own = [name for name in names if name.startswith(_prefix(precision)) and Path(name).name == name]
    return [
        (name, folder / name.replace(_prefix(precision), "model.", 1))
        for name in own
        if name.endswith(tuple(info.suffix for info in RUNTIMES.values() if not info.is_compiled))
    ]


def _copy(content: IO[bytes], handle: IO[bytes]) -> None:
    shutil.copyfileobj(content, handle, 1 << 20)


def _check_whole(report: Report, folders: dict[str, Path], where: Path) -> None:
    """Every precision has its file, and those that were measured are as they were then."""
    for precision, folder in folders.items():
        if not (folder / CANONICAL).is_file():
            raise EnvironmentProblem(
                f"{where}: {_prefix(precision)}onnx is not there", remedy="Run the recipe again."
            )
    for one in report.measurements:
        place = folders.get(one.precision) if one.model == "student" and one.sha256 else None
        path = None if place is None else place / one.file.replace(_prefix(one.precision), "model.", 1)
        if path is not None and path.is_file() and sha256_of(path) != one.sha256:
            raise EnvironmentProblem(
                f"{where}: {one.file} is not the file that the report measured: its SHA-256 differs",
                remedy="Run the recipe again.",
            )
