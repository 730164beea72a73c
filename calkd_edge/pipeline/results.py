"""From published folders to the report's nouns: measurements, evidence for the gates, golden outputs.

In scope: reading what stages wrote. Out of scope: computing, judging, running.
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
from calkd_edge.export.artifacts import (
    CALIBRATION,
    COMPARED,
    CORRUPTED,
    ENGINE,
    EXECUTED,
    HISTORY,
    LATENCY,
    LAYERS_IN_FLOAT,
    LINT,
    TEST_PREDICTIONS,
    TORCH_PARITY,
    converted_file,
)
from calkd_edge.models.image_model import describe
from calkd_edge.pipeline.planned import Measured, Model
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
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.report.conclusions import IN_FLOAT32

GOLDEN_IMAGES = 16


def evidence_of(row: Measured, folders: Mapping[str, Path], facts: DeviceFacts) -> list[Evidence]:
    """The uncalibrated and the calibrated measurement of one file on one device.

    Args:
        row: its stages.
        folders: published folder of each stage that was brought, by fingerprint.
        facts: of the device.
    """
    scored = folders[row.evaluate.fingerprint]
    executed = json.loads((scored / EXECUTED).read_text(encoding="utf-8"))
    timed = folders.get(row.benchmark.fingerprint)
    latency = None
    if timed is not None:
        latency = LatencySummary.model_validate_json((timed / LATENCY).read_text(encoding="utf-8"))
    text = (scored / CALIBRATION).read_text(encoding="utf-8")
    calibration = Calibration.model_validate_json(text)
    found = []
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
            notes=(*_made(executed), *_notes(folders[row.calibrate.fingerprint], calibrated)),
        )
        predictions = Predictions.load(scored / predictions_name)
        found.append(Evidence(measurement, predictions))
    return found


def fitted_calibration(folder: Path) -> Calibration:
    """What the stage calibrate wrote."""
    return Calibration.model_validate_json((folder / CALIBRATION).read_text(encoding="utf-8"))


def out_of_distribution(
    rows: Iterable[tuple[Measured, str]], folders: Mapping[str, Path]
) -> tuple[OutOfDistribution, ...]:
    """What became of files under corruptions, where that was asked and measured; each row with its name."""
    found = _told([(row.corrupted, label) for row, label in rows], folders, CORRUPTED)
    return tuple(OutOfDistribution(measurement=label, rows=told) for label, told in found)


def comparisons(rows: Iterable[tuple[Measured, str]], folders: Mapping[str, Path]) -> tuple[Comparison, ...]:
    """What other maps would make of files' confidence, where that was asked and measured."""
    found = _told([(row.compare, label) for row, label in rows], folders, COMPARED)
    return tuple(Comparison(measurement=label, rows=told) for label, told in found)


def _told(
    stages: Iterable[tuple[Stage | None, str]], folders: Mapping[str, Path], name: str
) -> Iterator[tuple[str, Any]]:
    """The JSON that each stage wrote, with its row's name; nothing for one that was not asked or brought."""
    for stage, label in stages:
        if stage is not None and stage.fingerprint in folders:
            yield label, json.loads((folders[stage.fingerprint] / name).read_text(encoding="utf-8"))


def unmeasured(model: Model, precision: str, device: DeviceSection, why: str) -> Evidence:
    """A row whose device did not answer or was not asked: every gate on it is unmeasured."""
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


def file_name(row: Measured, executed: str) -> str:
    """The published name: model.cpu.onnx of the student's int8 is student.int8.cpu.onnx.

    An engine fits one device, and bears its name: student.int8.jetson.engine.
    """
    own = f"{row.model}.{row.precision}."
    return executed.replace("model.", f"{own}{row.device.name}." if executed == ENGINE else own, 1)


def _notes(calibrated_folder: Path, calibrated: bool) -> tuple[str, ...]:
    if not calibrated:
        return ("obtained by undoing the calibration of the file that ran",)
    said = (*_chosen(calibrated_folder), *_linted(calibrated_folder))
    path = calibrated_folder / TORCH_PARITY
    if not path.is_file():
        return said
    parity = json.loads(path.read_text(encoding="utf-8"))
    largest, images = parity["max_logit_difference"], int(parity["images"])
    parted = f"uncalibrated, torch and the runtime differ by {largest:.2g} in a logit on {images} images"
    return (parted, *said)


def _made(executed: Mapping[str, Any]) -> tuple[str, ...]:
    """How an engine or a converted file came to be, and whether int8 is executed as it is written."""
    said = []
    built, converted, simulated = (executed.get(key) for key in ("built", "converted", "simulated"))
    if converted is not None:
        said.append(f"made of the ONNX file: {_near(converted)}")
    if built is not None:
        warnings = f", with {len(built['warnings'])} warnings" if built["warnings"] else ""
        how = f"by TensorRT {built['tensorrt']} in {built['seconds']:.0f} s{warnings}"
        said.append(f"built on the device {how}")
    if simulated is not None:
        said.append(f"executed on the device, and simulated as written: {_near(simulated)}")
    return tuple(said)


def _near(two: Mapping[str, Any]) -> str:
    gap = f"{two['max_logit_difference']:.2g} in a logit on {two['images']:,} images"
    return f"they differ by {gap}, and agree on {two['agreement']:.1%} of them"


def _chosen(calibrated_folder: Path) -> tuple[str, ...]:
    """Which layers of an int8 file stayed in float32, and why."""
    path = calibrated_folder / LAYERS_IN_FLOAT
    if not path.is_file():
        return ()
    told = json.loads(path.read_text(encoding="utf-8"))
    paths = [layer["layer"] for layer in told["in_float"]]
    names = [path.removeprefix("model.backbone.").removesuffix(".weight") for path in paths]
    images = f"on {told['images']:,} calibration images"
    whole = f"{100 * told['drop_all_int8']:.1f} points of top-1 {images}"
    if not names:
        change = f"{0.0 - 100 * told['drop_all_int8']:+.1f} points {images}"
        return (f"all {told['layers']} layers are in int8: that changes top-1 by {change}",)
    kept = f"{len(names)} of {told['layers']} layers {IN_FLOAT32} ({', '.join(names)})"
    return (f"{kept}: all in int8 lost {whole}, these lose {100 * told['drop']:.1f}",)


def _linted(calibrated_folder: Path) -> tuple[str, ...]:
    """What TensorRT would refuse the canonical file for, and ONNX Runtime the one that it runs."""
    told: dict[str, list[str]] = {}
    for record in json.loads((calibrated_folder / LINT).read_text(encoding="utf-8")):
        linted = Lint.model_validate(record)
        for one in linted.errors:
            names = told.setdefault(f"{one.message} (at {one.node or 'the file'})", [])
            names.append(RUNTIMES[linted.target].title)
    return tuple(f"{' and '.join(names)} would not run it: {what}" for what, names in told.items())


def golden(row: Measured, folders: Mapping[str, Path], data: Path) -> dict[str, np.ndarray]:
    """Inputs and every output for the first test images, as the shipped file returned them."""
    found = Predictions.load(folders[row.final.fingerprint] / TEST_PREDICTIONS)
    name = evidence_file(row, folders)
    rows = found.indices[:GOLDEN_IMAGES]
    arrays = {"images": Prepared.open(data).images[rows], f"{name}/logits": found.logits[:GOLDEN_IMAGES]}
    if found.probabilities is not None:
        arrays[f"{name}/probabilities"] = found.probabilities[:GOLDEN_IMAGES]
    return arrays


def evidence_file(row: Measured, folders: Mapping[str, Path]) -> str:
    """The published name of the file that a row executed."""
    text = (folders[row.evaluate.fingerprint] / EXECUTED).read_text(encoding="utf-8")
    return file_name(row, json.loads(text)["file"])


def model_files(row: Measured, folders: Mapping[str, Path]) -> dict[str, Path]:
    """Published name -> file, for the canonical file of a precision and those made of it."""
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
    """What the report says of the data."""
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
        "duplicates": _counts(splits["duplicates"]),
        "skipped": skipped[:20],
        "skipped_count": len(skipped),
    }


def _counts(facts: Mapping[str, Any]) -> dict[str, Json]:
    """Lists as their lengths: a report of 60,000 images need not name each."""
    return {key: len(value) if isinstance(value, list) else value for key, value in facts.items()}


def model_facts(folder: Path, sha256: str) -> dict[str, Json]:
    """What the report says of a trained model."""
    description = describe(folder)
    lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
    return {
        "name": description.name,
        "settings": description.settings,
        "trained_on": description.trained_on,
        "weights_sha256": sha256,
        "last_epoch": json.loads(lines[-1]) if lines else {},
    }
