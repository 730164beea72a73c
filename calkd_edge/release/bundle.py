"""The bundle: the released files and their origin, in one zip whose bytes depend on its content alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TypedDict

import numpy as np
from numpy.typing import NDArray

from calkd_edge.errors import EnvironmentProblem, GateFailed, GateUndecided
from calkd_edge.files import replacing
from calkd_edge.files.npz import FIRST_DATE, npz_bytes
from calkd_edge.records import Json, Measurement, Report
from calkd_edge.release import card
from calkd_edge.release.consumption import (
    LABELS,
    PREPROCESSING,
    THRESHOLDS,
    Preprocessing,
    labels_text,
    thresholds_text,
)
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME, render_json

BUNDLE_SCHEMA_VERSION = 1
MANIFEST, SUMS, CARD = "manifest.json", "SHA256SUMS", "README.md"
INPUTS, PHOTOS = "golden/inputs.npz", "golden/photos/"
EARLIER_CARD = "MODEL_CARD.md"

DOCUMENTS = {
    CARD,
    EARLIER_CARD,
    LABELS,
    PREPROCESSING,
    THRESHOLDS,
    "sbom.cdx.json",
    "environment.json",
    "requirements.lock",
}
"""Files of a bundle that are in no other part of a release; the card of 0.1.0 had another name."""

_LARGE = 1 << 31

Arrays = Mapping[str, NDArray[np.generic]]


class FileFacts(TypedDict):
    """What the manifest lists of a file."""

    sha256: str
    bytes: int


def write_bundle(
    target: Path,
    *,
    report: Report,
    page: str,
    files: Mapping[str, Path],
    golden: Arrays,
    preprocessing: Preprocessing,
    documents: Mapping[str, bytes],
    card_first_word: str,
) -> Path:
    """Write the zip, completely or not at all, and return its path. Equal content gives equal bytes.

    Args:
        target: the zip to write or replace.
        report: must have passed, or be undecided with `card_first_word="undecided"`.
        page: its report.html, as text.
        files: name inside the bundle -> file, e.g. {"model.int8.onnx": ...}.
        golden: "images" -> uint8 [n, 3, H, W], and for each file that runs "NAME/OUTPUT" -> [n, ...], that
            output of the file for these images.
        preprocessing: how a photo becomes the input.
        documents: further files, name inside the bundle -> content; photos are named golden/photos/NN.SUFFIX,
            with the position NN in the golden images.
        card_first_word: first word of the model card.

    Raises:
        GateFailed: the report failed, or is a smoke run.
        GateUndecided: the report is undecided and the card does not begin with that word.
        EnvironmentProblem: a file is missing, or is not the one that was measured.
        ValueError: golden arrays and file names do not match.
    """
    _check_verdict(report, card_first_word)
    for name, path in files.items():
        if not path.is_file():
            raise EnvironmentProblem(
                f"{path}: this file is missing, the bundle needs it as {name}",
                remedy="Run the recipe again.",
            )
    packed = _golden_files(golden, files)
    texts = {
        JSON_NAME: render_json(report).encode(),
        HTML_NAME: page.encode(),
        CARD: card.render(
            report,
            files=list(files),
            preprocessing=preprocessing,
            photos=[name for name in documents if name.startswith(PHOTOS)],
            first_word=card_first_word,
        ).encode(),
        LABELS: labels_text(report).encode(),
        PREPROCESSING: preprocessing.text().encode(),
        THRESHOLDS: thresholds_text(report).encode(),
        **packed,
    }
    _check_names([*files, *texts, *documents])
    texts |= documents
    listed = {name: _facts_of_bytes(text) for name, text in texts.items()}
    listed.update({name: _facts_of_file(path) for name, path in files.items()})
    _check_measured(report, listed)
    texts[MANIFEST] = (json.dumps(manifest_of(report, listed), indent=2, ensure_ascii=False) + "\n").encode()
    sums = {name: facts["sha256"] for name, facts in listed.items()}
    sums[MANIFEST] = hashlib.sha256(texts[MANIFEST]).hexdigest()
    texts[SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted([*texts, *files]):
            _add(archive, name, files[name] if name in files else texts[name])
            if name in files and _facts_of_file(files[name]) != listed[name]:
                raise EnvironmentProblem(f"{files[name]} changed while it was bundled", remedy="Run again.")
    return target


def _check_verdict(report: Report, first_word: str) -> None:
    if report.verdict in ("failed", "smoke"):
        raise GateFailed(
            f"{report.name}: the verdict is {report.verdict}; only a passed or undecided release is bundled",
            remedy="Read the gates in report.html.",
        )
    if report.verdict == "undecided" and first_word != "undecided":
        raise GateUndecided(
            f"{report.name}: the card of an undecided release must begin with the word undecided",
            remedy="Pass --allow-undecided, or collect the evidence that the report names.",
        )


def measured_files(report: Report) -> Iterator[Measurement]:
    """The measurements of a report that a bundle's files stand behind: the student's, as shipped."""
    for row in report.measurements:
        if row.model == "student" and row.calibrated and row.quality is not None:
            yield row


def _check_measured(report: Report, listed: Mapping[str, FileFacts]) -> None:
    for row in measured_files(report):
        if row.file in listed and listed[row.file]["sha256"] != row.sha256:
            raise EnvironmentProblem(
                f"{row.file} is not the file that was measured: its SHA-256 is "
                f"{listed[row.file]['sha256'][:16]}, {row.sha256[:16]} was measured",
                remedy="Run the recipe again.",
            )


def _golden_files(golden: Arrays, files: Mapping[str, Path]) -> dict[str, bytes]:
    images = golden.get("images")
    if images is None or images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError("golden needs 'images': uint8 [n, 3, H, W]")
    outputs: dict[str, dict[str, NDArray[np.generic]]] = {}
    for key, values in golden.items():
        if key == "images":
            continue
        name, _, output = key.rpartition("/")
        if name not in files or len(values) != len(images):
            raise ValueError(f"golden '{key}': no file of that name, or not one row per image")
        outputs.setdefault(name, {})[output] = values
    packed = {INPUTS: npz_bytes({"images": images})}
    return packed | {f"golden/{name}.npz": npz_bytes(arrays) for name, arrays in sorted(outputs.items())}


def manifest_of(report: Report, listed: Mapping[str, FileFacts]) -> dict[str, Json]:
    """The manifest of a bundle: what its report and its files make it."""
    return {
        "schema_version": BUNDLE_SCHEMA_VERSION,
        "name": report.name,
        "verdict": report.verdict,
        "files": {
            name: {"sha256": facts["sha256"], "bytes": facts["bytes"]}
            for name, facts in sorted(listed.items())
        },
        "measured": [
            row.model_dump(include={"file", "sha256", "precision", "device", "runtime"})
            for row in measured_files(report)
            if row.file in listed
        ],
        "provenance": [stage.model_dump(include={"stage", "fingerprint"}) for stage in report.plan],
        "environment": report.environment,
    }


def _check_names(names: list[str]) -> None:
    reserved = {MANIFEST, SUMS}
    for name in names:
        if names.count(name) > 1 or name in reserved or not is_safe(name):
            raise ValueError(f"'{name}' cannot be the name of a file in a bundle")


def is_safe(name: str) -> bool:
    """Whether a name stays inside the folder that a bundle is unpacked into."""
    parts = name.split("/")
    return not set(parts) & {"", ".", ".."} and not any(char in name for char in "\\:\n\r\0")


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    info = zipfile.ZipInfo(name, FIRST_DATE)
    info.external_attr = 0o644 << 16
    info.create_system = 3
    if isinstance(content, bytes):
        archive.writestr(info, content)
        return
    with (
        content.open("rb") as source,
        archive.open(info, "w", force_zip64=content.stat().st_size > _LARGE) as entry,
    ):
        shutil.copyfileobj(source, entry, 1 << 20)


def _facts_of_bytes(content: bytes) -> FileFacts:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _facts_of_file(path: Path) -> FileFacts:
    with path.open("rb") as source:
        return {"sha256": digest_of(source), "bytes": path.stat().st_size}


def digest_of(source: IO[bytes]) -> str:
    """Hexadecimal SHA-256 of a stream, read in pieces."""
    total = hashlib.sha256()
    while chunk := source.read(1 << 20):
        total.update(chunk)
    return total.hexdigest()
