"""The bundle of a run: its files, golden inputs, outputs and photos, and what a program needs to use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calkd_edge.data.photos import OfPhotos, photos_of
from calkd_edge.data.prepared import Prepared
from calkd_edge.files import sha256_of
from calkd_edge.models.image_model import describe
from calkd_edge.pipeline import results
from calkd_edge.pipeline.installed import ENVIRONMENT, LOCK, environment_text, installed, lock_text
from calkd_edge.pipeline.planned import Plan
from calkd_edge.records import Report
from calkd_edge.release.bundle import PHOTOS, write_bundle
from calkd_edge.release.consumption import Preprocessing
from calkd_edge.release.contents import BUNDLE, MODELS, SCORES
from calkd_edge.release.report.report import HTML_NAME


def _origin(report: Report, files: Mapping[str, Path]) -> dict[str, bytes]:
    """The documents that say what made the models."""
    # Imported here: it takes a tenth of a second, and only a bundle needs it.
    from calkd_edge.release.sbom import SBOM, sbom

    packages = installed()
    return {
        SBOM: sbom(report, {name: sha256_of(path) for name, path in files.items()}, packages),
        LOCK: lock_text(packages).encode(),
        ENVIRONMENT: environment_text(report.environment).encode(),
    }


def bundle_run(plan: Plan, report: Report, folders: Mapping[str, Path], staged: Path) -> None:
    """Write bundle.zip beside the report and the models of a release.

    Args:
        plan: of the run.
        report: as written there.
        folders: published folder of each finished stage, by fingerprint.
        staged: the release's folder.
    """
    data = folders[plan.data.fingerprint]
    files: dict[str, Path] = {}
    golden: dict[str, np.ndarray] = {}
    rows: list[int] = []
    for row in plan.rows:
        if row.model == "student" and row.evaluate.fingerprint in folders:
            files.update((name, staged / MODELS / name) for name in results.model_files(row, folders))
            golden.update(results.golden(row, folders, data))
            rows = results.golden_rows(row, folders)
    dataset = plan.checked.dataset
    positions = [Prepared.open(data).splits["source_index"][row] for row in rows]
    photos = photos_of(dataset, positions, golden["images"])
    student = describe(folders[plan.student.fingerprint])
    _, height, width = student.image_shape
    write_bundle(
        staged / BUNDLE,
        report=report,
        page=(staged / HTML_NAME).read_text(encoding="utf-8"),
        files=files,
        golden=golden,
        preprocessing=Preprocessing(
            height,
            width,
            dataset.resize if isinstance(dataset, OfPhotos) else "none",
            student.mean,
            student.std,
            student.input_note,
            getattr(dataset, "fast_jpeg", False),
        ),
        documents={
            **{f"{PHOTOS}{name}": content for name, content in photos.items()},
            **_origin(report, files),
            SCORES: (staged / SCORES).read_bytes(),
        },
        card_first_word=report.verdict,
    )
