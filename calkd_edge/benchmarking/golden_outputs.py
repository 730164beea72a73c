"""The models of a bundle, executed on its golden inputs and compared with its golden outputs."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.benchmarking.images import MOST_GOLDEN_BYTES
from calkd_edge.benchmarking.sources import report_in
from calkd_edge.devices.inventory import location_of
from calkd_edge.devices.session import Session, open_session
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.export.agreement import FLOATS, agreement
from calkd_edge.export.proof import check_probabilities
from calkd_edge.files.arrays import Array, read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.zipped import opened_zip, pieces, read_member
from calkd_edge.onnx_model.names import LOGITS, PROBABILITIES
from calkd_edge.records import Measurement, Predictions, Report
from calkd_edge.release.bundle import INPUTS, measured_files


def compare_outputs(bundle: Path, device: str, on_message: Callable[[str], None]) -> list[str]:
    """A sentence for each model whose answers on a device are not the golden ones.

    Args:
        bundle: whose checksums are right.
        device: where its models run.
        on_message: called with a sentence for each model that ran, or could not run there.

    Raises:
        RecipeError: there is no such device, or no model of the bundle can run there.
        DeviceError: the device is lost.
    """
    with opened_zip(bundle) as archive, tempfile.TemporaryDirectory(prefix="calkd-verify-") as folder:
        report = report_in(archive, bundle)
        try:
            return _problems(archive, report, Path(folder), bundle, device, on_message)
        except Unreadable as wrong:
            return [f"{bundle}: {wrong}"]


def _problems(
    archive: zipfile.ZipFile,
    report: Report,
    work: Path,
    bundle: Path,
    device: str,
    on_message: Callable[[str], None],
) -> list[str]:
    rows = {(row.file, row.runtime): row for row in measured_files(report)}
    problems, ran = [], 0
    images = _images(archive)
    np.save(work / "images.npy", images)
    with open_session(device, location_of(device)) as session:
        available = session.probe().runtimes
        for row in rows.values():
            reason = _cannot_run(row, device, list(available), archive.namelist())
            if reason:
                on_message(f"{row.file} was not executed: {reason}")
                continue
            with (work / row.file).open("wb") as file:
                file.writelines(pieces(archive, row.file))
            golden = _outputs(archive, row.file, len(images))
            difference = _difference(session, work, row, _options(report, row), golden)
            ran += 1
            if difference:
                problems.append(f"{row.file} does not answer on {device} as it did: {difference}")
            else:
                on_message(f"{row.file} answers on {device} as it did ({row.runtime})")
    if not ran:
        raise RecipeError(
            f"no model of {bundle} can run on {device}",
            remedy=f"Install one of its runtimes there: calkd-edge doctor --device {device}",
        )
    return problems


def _cannot_run(row: Measurement, device: str, available: list[str], names: list[str]) -> str:
    """Why a file cannot be executed on a device; empty when it can."""
    if RUNTIMES[row.runtime].is_compiled and row.device != device:
        return f"it was built for {row.device}"
    if row.runtime not in available:
        return f"{device} has no {RUNTIMES[row.runtime].title}"
    return "" if f"golden/{row.file}.npz" in names else "the bundle has no golden outputs of it"


def _options(report: Report, row: Measurement) -> dict[str, Any]:
    """The recipe's options for the device of a measurement, with the file's SHA-256 where one is needed."""
    devices: Any = report.recipe.get("devices") or ()
    matching = [item for item in devices if (item["name"], item["runtime"]) == (row.device, row.runtime)]
    options = dict(matching[0].get("options") or {}) if matching else {}
    info = RUNTIMES[row.runtime]
    return {**options, "sha256": row.sha256} if info.is_compiled or info.is_converted else options


def _difference(
    session: Session, work: Path, row: Measurement, options: dict[str, Any], golden: dict[str, Any]
) -> str:
    """How the outputs of a file differ from the golden ones; empty when they agree."""
    outputs, _ = session.predict(
        work / row.file, work / "images.npy", runtime=row.runtime, options=options, images_per_run=1
    )
    if outputs.keys() != golden.keys():
        return f"it returns {', '.join(sorted(outputs))}"
    for name, values in outputs.items():
        if values.shape != golden[name].shape:
            return f"its {name} have the shape {list(values.shape)}, not {list(golden[name].shape)}"
    logits, images = outputs["logits"], len(golden["logits"])
    near = agreement(logits, golden["logits"], exact=row.precision in FLOATS)
    if not near.sound:
        return f"they differ {near.description(images)}"
    rows = np.arange(images)
    try:
        check_probabilities(Predictions(logits, np.zeros(images, np.int64), rows, outputs["probabilities"]))
    except StageFailed as wrong:
        return wrong.message
    return ""


def _images(archive: zipfile.ZipFile) -> Array:
    """The golden inputs.

    Raises:
        Unreadable: they are damaged, or no images.
    """
    images = read_arrays(read_member(archive, INPUTS, MOST_GOLDEN_BYTES), ("images",)).get("images")
    if images is None or images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise Unreadable(f"{INPUTS} holds no images")
    return images


def _outputs(archive: zipfile.ZipFile, file: str, count: int) -> dict[str, Any]:
    """The golden outputs of a file: logits and probabilities, a row for each image.

    Raises:
        Unreadable: they are damaged, or something else.
    """
    name = f"golden/{file}.npz"
    arrays = read_arrays(read_member(archive, name, MOST_GOLDEN_BYTES))
    for output in (LOGITS, PROBABILITIES):
        values = arrays.get(output)
        if values is None or values.dtype.kind != "f" or values.ndim != 2 or len(values) != count:
            raise Unreadable(f"{name} holds no {output} of {count} images")
    return arrays
