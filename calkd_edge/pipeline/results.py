"""From published folders to the report's records: measurements, evidence for the gates, golden outputs.

In scope: reading the files of stages. Out of scope: computing, judging, running.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.data.prepared import Prepared, copies_in_test, trained_in_test
from calkd_edge.engine.stage import Stage
from calkd_edge.export.artifacts import (
    CALIBRATION,
    COMPARED,
    CORRUPTED,
    ENGINE,
    EXECUTED,
    GUARANTEED,
    LATENCY,
    TEST_PREDICTIONS,
    UNKNOWN_FACTS,
    converted_file,
)
from calkd_edge.models.image_model import describe
from calkd_edge.pipeline.notes import notes_of
from calkd_edge.pipeline.planned import MeasuredRow, Model
from calkd_edge.recipe.schema import DeviceSection
from calkd_edge.records import (
    Calibration,
    Comparison,
    Corrupted,
    DeviceFacts,
    GuaranteedThreshold,
    Json,
    LatencySummary,
    Measurement,
    OutOfDistribution,
    Predictions,
    Quality,
    Unknown,
)
from calkd_edge.release.gates.evidence import DataFaults, Evidence

GOLDEN_IMAGES = 16


def data_faults(folder: Path) -> DataFaults:
    """What a stage `prepare` found wrong with the images."""
    prepared = Prepared.open(folder)
    tested = len(prepared.splits["test"])
    return DataFaults(
        trained_in_test(prepared) / tested,
        prepared.splits["duplicates"]["conflicting_labels"] / len(prepared.labels),
        copies_in_test(prepared) / tested,
    )


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
            guaranteed=_guaranteed(scored) if calibrated else (),
            latency_ms=latency if calibrated else None,
            size_bytes=executed["size_bytes"],
            emulated=facts.emulated,
            notes=notes_of(executed, folders[row.calibrate.fingerprint], calibrated=calibrated),
        )
        predictions = Predictions.load(scored / predictions_name)
        evidence.append(Evidence(measurement, predictions, data, classes))
    evidence[-1] = replace(evidence[-1], corrupted=_corrupted(row, folders), unknown=_unknown(row, folders))
    return evidence


def _corrupted(row: MeasuredRow, folders: Mapping[str, Path]) -> tuple[Corrupted, ...]:
    content = _json_of(row.corrupted, folders, CORRUPTED)
    return tuple(map(Corrupted.model_validate, content)) if isinstance(content, list) else ()


def _unknown(row: MeasuredRow, folders: Mapping[str, Path]) -> Unknown | None:
    content = _json_of(row.unknown, folders, UNKNOWN_FACTS)
    return None if content is None else Unknown.model_validate(content)


def _guaranteed(scored: Path) -> tuple[GuaranteedThreshold, ...]:
    """Thresholds with a guaranteed precision, where the recipe wants any."""
    path = scored / GUARANTEED
    records = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return tuple(GuaranteedThreshold.model_validate(record) for record in records)


def fitted_calibration(folder: Path) -> Calibration:
    """The fitted map of a stage `calibrate`."""
    return Calibration.model_validate_json((folder / CALIBRATION).read_text(encoding="utf-8"))


def out_of_distribution(rows: Iterable[tuple[Evidence, str]]) -> tuple[OutOfDistribution, ...]:
    """Scores of files under corruptions, where they were measured; each with its row's name."""
    return tuple(
        OutOfDistribution(measurement=label, rows=item.corrupted) for item, label in rows if item.corrupted
    )


def unknown(rows: Iterable[tuple[Evidence, str]]) -> tuple[Unknown, ...]:
    """Confidence of files on images of no class, where it was measured; each with its row's name."""
    return tuple(
        item.unknown.model_copy(update={"measurement": label}) for item, label in rows if item.unknown
    )


def comparisons(
    rows: Iterable[tuple[MeasuredRow, str]], folders: Mapping[str, Path]
) -> tuple[Comparison, ...]:
    """Other maps of files' confidence, where they were measured; each with its row's name."""
    contents = [(label, _json_of(row.compare, folders, COMPARED)) for row, label in rows]
    return tuple(Comparison(measurement=label, rows=rows) for label, rows in contents if rows is not None)


def _json_of(stage: Stage | None, folders: Mapping[str, Path], name: str) -> Json:
    """The JSON of a finished stage; None where it is not part of the plan, or has not run."""
    if stage is None or stage.fingerprint not in folders:
        return None
    content: Json = json.loads((folders[stage.fingerprint] / name).read_text(encoding="utf-8"))
    return content


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


def golden_rows(row: MeasuredRow, folders: Mapping[str, Path]) -> list[int]:
    """The prepared images that the golden inputs are: the first that a file predicted."""
    predictions = Predictions.load(folders[row.final.fingerprint] / TEST_PREDICTIONS)
    return [int(index) for index in predictions.indices[:GOLDEN_IMAGES]]


def golden(row: MeasuredRow, folders: Mapping[str, Path], data: Path) -> dict[str, np.ndarray]:
    """Inputs and every output of the shipped file for the first test images."""
    predictions = Predictions.load(folders[row.final.fingerprint] / TEST_PREDICTIONS)
    name = evidence_file(row, folders)
    arrays = {
        "images": Prepared.open(data).images[np.array(golden_rows(row, folders))],
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
        "faults": asdict(data_faults(folder)),
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
