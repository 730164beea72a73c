"""The models of a bundle, executed on its golden inputs and compared with its golden outputs."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.devices.inventory import location_of
from calkd_edge.devices.session import Session, open_session
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.export.agreement import FLOATS, agreement
from calkd_edge.export.proof import check_probabilities
from calkd_edge.records import FloatArray, Measurement, Predictions, Report
from calkd_edge.release.bundle import INPUTS, measured_files
from calkd_edge.release.report.report import JSON_NAME


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
    with zipfile.ZipFile(bundle) as archive, tempfile.TemporaryDirectory(prefix="calkd-verify-") as folder:
        work = Path(folder)
        report = Report.model_validate_json(archive.read(JSON_NAME))
        rows = {(row.file, row.runtime): row for row in measured_files(report)}
        problems, ran = [], 0
        with open_session(device, location_of(device)) as session:
            available = session.probe().runtimes
            np.save(work / "images.npy", _arrays(archive, INPUTS)["images"])
            for row in rows.values():
                reason = _cannot_run(row, device, list(available), archive.namelist())
                if reason:
                    on_message(f"{row.file} was not executed: {reason}")
                    continue
                (work / row.file).write_bytes(archive.read(row.file))
                golden = _arrays(archive, f"golden/{row.file}.npz")
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
    session: Session, work: Path, row: Measurement, options: dict[str, Any], golden: dict[str, FloatArray]
) -> str:
    """How the outputs of a file differ from the golden ones; empty when they agree."""
    outputs, _ = session.predict(
        work / row.file, work / "images.npy", runtime=row.runtime, options=options, images_per_run=1
    )
    if outputs.keys() != golden.keys():
        return f"it returns {', '.join(sorted(outputs))}"
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


def _arrays(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with np.load(io.BytesIO(archive.read(name)), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}
