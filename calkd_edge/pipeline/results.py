"""From published folders to the report's records: measurements, evidence for the gates, golden outputs.

In scope: reading the files of stages. Out of scope: computing, judging, running.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Stage
from calkd_edge.export.agreement import APART
from calkd_edge.export.artifacts import (
    CALIBRATION,
    COMPARED,
    CORRUPTED,
    ENGINE,
    EXECUTED,
    LATENCY,
    LAYERS_IN_FLOAT,
    LINT,
    TEST_PREDICTIONS,
    TORCH_PARITY,
    converted_file,
)
from calkd_edge.models.image_model import describe
from calkd_edge.pipeline.planned import MeasuredRow, Model
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.records import (
    Calibration,
    Comparison,
    DeviceFacts,
    Json,
    LatencySummary,
    Lint,
    Measurement,
    OutOfDistribution,
    Predictions,
    Quality,
)
from calkd_edge.release.gates.evidence import DataFaults, Evidence
from calkd_edge.release.report.conclusions import IN_FLOAT32

GOLDEN_IMAGES = 16


def data_faults(folder: Path) -> DataFaults:
    """What a stage `prepare` found wrong with the images."""
    prepared = Prepared.open(folder)
    copies, tested = prepared.splits["duplicates"], len(prepared.splits["test"])
    kept = copies["test_in_train_count"] - copies["dropped_from_test"]
    return DataFaults(kept / tested, copies["conflicting_labels"] / len(prepared.labels))


def evidence_of(
    row: MeasuredRow,
    folders: Mapping[str, Path],
    facts: DeviceFacts,
    data: DataFaults,
    classes: tuple[str, ...],
) -> list[Evidence]:
    """The uncalibrated and the calibrated measurement of one file on one device.

    Args:
        row: its stages.
        folders: published folder of each finished stage, by fingerprint.
        facts: of the device.
        data: faults of the images.
        classes: their names.
    """
    scored = folders[row.evaluate.fingerprint]
    executed = json.loads((scored / EXECUTED).read_text(encoding="utf-8"))
    benchmark = folders.get(row.benchmark.fingerprint)
    latency = None
    if benchmark is not None:
        latency = LatencySummary.model_validate_json((benchmark / LATENCY).read_text(encoding="utf-8"))
    text = (scored / CALIBRATION).read_text(encoding="utf-8")
    calibration = Calibration.model_validate_json(text)
    evidence = []
    for calibrated, quality_name, predictions_name in (
        (False, "uncalibrated.json", "uncalibrated.npz"),
        (True, "quality.json", "predictions.npz"),
    ):
        quality = Quality.model_validate_json((scored / quality_name).read_text(encoding="utf-8"))
        measurement = Measurement(
            model=row.model,
            precision=row.precision,
            calibrated=calibrated,
            device=row.device.name,
            runtime=row.device.runtime,
            file=file_name(row, executed["file"]),
            sha256=executed["sha256"],
            session_options=executed["session_options"],
            images=quality.images,
            quality=quality,
            calibration=calibration if calibrated else None,
            latency_ms=latency if calibrated else None,
            size_bytes=executed["size_bytes"],
            emulated=facts.emulated,
            notes=(*_build_notes(executed), *_notes(folders[row.calibrate.fingerprint], calibrated)),
        )
        predictions = Predictions.load(scored / predictions_name)
        evidence.append(Evidence(measurement, predictions, data, classes))
    return evidence


def fitted_calibration(folder: Path) -> Calibration:
    """The fitted map of a stage `calibrate`."""
    return Calibration.model_validate_json((folder / CALIBRATION).read_text(encoding="utf-8"))


def out_of_distribution(
    rows: Iterable[tuple[MeasuredRow, str]], folders: Mapping[str, Path]
) -> tuple[OutOfDistribution, ...]:
    """Scores of files under corruptions, where they were measured; each with its row's name."""
    results = _json_of([(row.corrupted, label) for row, label in rows], folders, CORRUPTED)
    return tuple(OutOfDistribution(measurement=label, rows=scores) for label, scores in results)


def comparisons(
    rows: Iterable[tuple[MeasuredRow, str]], folders: Mapping[str, Path]
) -> tuple[Comparison, ...]:
    """Other maps of files' confidence, where they were measured; each with its row's name."""
    results = _json_of([(row.compare, label) for row, label in rows], folders, COMPARED)
    return tuple(Comparison(measurement=label, rows=methods) for label, methods in results)


def _json_of(
    stages: Iterable[tuple[Stage | None, str]], folders: Mapping[str, Path], name: str
) -> Iterator[tuple[str, list[Json]]]:
    """The JSON of each finished stage, with its row's name."""
    for stage, label in stages:
        if stage is not None and stage.fingerprint in folders:
            yield label, json.loads((folders[stage.fingerprint] / name).read_text(encoding="utf-8"))


def unmeasured(model: Model, precision: str, device: DeviceSection, why: str) -> Evidence:
    """A row whose device failed or was skipped: every gate on it is unmeasured."""
    measurement = Measurement(
        model=model,
        precision=precision,
        calibrated=True,
        device=device.name,
        runtime=device.runtime,
        file=f"{model}.{precision}.onnx",
        sha256="",
        session_options={},
        images=0,
        quality=None,
        calibration=None,
        latency_ms=None,
        size_bytes=0,
        notes=(why,),
    )
    return Evidence(measurement)


def file_name(row: MeasuredRow, executed: str) -> str:
    """The published name: model.cpu.onnx of the student's int8 is student.int8.cpu.onnx.

    An engine fits one device, and has its name: student.int8.jetson.engine.
    """
    prefix = f"{row.model}.{row.precision}."
    if executed == ENGINE:
        prefix += f"{row.device.name}."
    return executed.replace("model.", prefix, 1)


def _notes(calibrated_folder: Path, calibrated: bool) -> tuple[str, ...]:
    if not calibrated:
        return ("computed by undoing the calibration of the executed file",)
    notes = (*_float_layer_notes(calibrated_folder), *_lint_notes(calibrated_folder))
    path = calibrated_folder / TORCH_PARITY
    if not path.is_file():
        return notes
    parity = json.loads(path.read_text(encoding="utf-8"))
    largest, images = parity["max_logit_difference"], int(parity["images"])
    difference = f"uncalibrated, torch and the runtime differ by {largest:.2g} in a logit on {images} images"
    return (difference, *notes)


def _build_notes(executed: Mapping[str, Any]) -> tuple[str, ...]:
    """How an engine or a converted file was made, and whether int8 is executed as written."""
    notes = []
    built, converted, simulated = (executed.get(key) for key in ("built", "converted", "simulated"))
    if converted is not None:
        notes.append(f"made from the ONNX file: {_agreement(converted)}")
    if built is not None:
        warnings = f", with {len(built['warnings'])} warnings" if built["warnings"] else ""
        how = f"by TensorRT {built['tensorrt']} in {built['seconds']:.0f} s, TF32 off{warnings}"
        notes.append(f"built on the device {how}")
    if simulated is not None:
        notes.append(f"executed on the device, and simulated as written: {_agreement(simulated)}")
    return tuple(notes)


def _agreement(facts: Mapping[str, float]) -> str:
    difference = f"{facts['max_logit_difference']:.2g} in a logit on {facts['images']:,} images"
    limit = ""
    if (own := facts.get("sensitivity") or 0.0) > APART:
        limit = (
            f"; that says little, since one grey level in each pixel moves the file's own logits by {own:.0%}"
        )
    return f"they differ by {difference}, and agree on {facts['agreement']:.1%} of them{limit}"


def _float_layer_notes(calibrated_folder: Path) -> tuple[str, ...]:
    """Which layers of an int8 file stayed in float32, and why."""
    path = calibrated_folder / LAYERS_IN_FLOAT
    if not path.is_file():
        return ()
    choice = json.loads(path.read_text(encoding="utf-8"))
    paths = [layer["layer"] for layer in choice["in_float"]]
    names = [path.removeprefix("model.backbone.").removesuffix(".weight") for path in paths]
    images = f"on {choice['images']:,} calibration images"
    loss = f"{100 * choice['drop_all_int8']:.1f} points of top-1 {images}"
    if not names:
        change = f"{0.0 - 100 * choice['drop_all_int8']:+.1f} points {images}"
        return (f"all {choice['layers']} layers are in int8: that changes top-1 by {change}",)
    kept = f"{len(names)} of {choice['layers']} layers {IN_FLOAT32} ({', '.join(names)})"
    return (f"{kept}: all in int8 lost {loss}, these lose {100 * choice['drop']:.1f}",)


def _lint_notes(calibrated_folder: Path) -> tuple[str, ...]:
    """Why TensorRT would refuse the canonical file, or ONNX Runtime the file that it runs."""
    runtimes: dict[str, list[str]] = {}
    for record in json.loads((calibrated_folder / LINT).read_text(encoding="utf-8")):
        lint = Lint.model_validate(record)
        for error in lint.errors:
            names = runtimes.setdefault(f"{error.message} (at {error.node or 'the file'})", [])
            names.append(RUNTIMES[lint.target].title)
    return tuple(f"{' and '.join(names)} would not run it: {reason}" for reason, names in runtimes.items())


def golden(row: MeasuredRow, folders: Mapping[str, Path], data: Path) -> dict[str, np.ndarray]:
    """Inputs and every output of the shipped file for the first test images."""
    predictions = Predictions.load(folders[row.final.fingerprint] / TEST_PREDICTIONS)
    name = evidence_file(row, folders)
    rows = predictions.indices[:GOLDEN_IMAGES]
    arrays = {
        "images": Prepared.open(data).images[rows],
        f"{name}/logits": predictions.logits[:GOLDEN_IMAGES],
    }
    if predictions.probabilities is not None:
        arrays[f"{name}/probabilities"] = predictions.probabilities[:GOLDEN_IMAGES]
    return arrays


def evidence_file(row: MeasuredRow, folders: Mapping[str, Path]) -> str:
    """The published name of the file that a row executed."""
    text = (folders[row.evaluate.fingerprint] / EXECUTED).read_text(encoding="utf-8")
    return file_name(row, json.loads(text)["file"])


def model_files(row: MeasuredRow, folders: Mapping[str, Path]) -> dict[str, Path]:
    """Published name -> file, for the canonical file of a precision and the files made from it."""
    folder = folders[row.calibrate.fingerprint]
    files = {file_name(row, path.name): path for path in sorted(folder.glob("model*.onnx"))}
    converted = row.final.inputs.get("converted")
    if converted is not None and converted.fingerprint in folders:
        name = converted_file(row.device.runtime)
        files[file_name(row, name)] = folders[converted.fingerprint] / name
    engine = row.final.inputs.get("engine")
    if engine is not None and engine.fingerprint in folders:
        files[file_name(row, ENGINE)] = folders[engine.fingerprint] / ENGINE
    return files


def data_facts(folder: Path, identity: str) -> dict[str, Json]:
    """The report's facts about the data."""
    prepared = Prepared.open(folder)
    splits = prepared.splits
    skipped: list[Any] = splits["skipped"]
    return {
        "identity": identity,
        "content_sha256": prepared.content,
        "images": {name: len(splits[name]) for name in ("train", "calibration", "test")},
        "image_shape": list(prepared.image_shape),
        "classes": list(prepared.classes),
        "license": prepared.notes["license"],
        "input_note": prepared.notes["input_note"],
        "read_as": prepared.notes["shape_note"],
        "duplicates": _counts(splits["duplicates"]),
        "skipped": skipped[:20],
        "skipped_count": len(skipped),
    }


def _counts(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Lists as their lengths: a report of 60,000 images need not name each."""
    return {key: len(value) if isinstance(value, list) else value for key, value in facts.items()}


def model_facts(folder: Path, sha256: str) -> dict[str, Json]:
    """The report's facts about a trained model."""
    description = describe(folder)
    return {
        "name": description.name,
        "settings": description.settings,
        "trained_on": description.trained_on,
        "weights_sha256": sha256,
    }
