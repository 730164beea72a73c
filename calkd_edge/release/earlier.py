"""An earlier release, for comparison: its report, its scores, and what of it this release can be paired with.

In scope: reading a folder or a bundle, and matching files and images. Out of scope: judging, showing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import MOST_JSON_BYTES, Unreadable, read_bounded
from calkd_edge.files.zipped import opened_zip, read_member
from calkd_edge.records import DeviceFacts, LatencySummary, Measurement, Report
from calkd_edge.release.contents import BUNDLE, FILE, SCORES, kind_of, read_report
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.gates.evidence import Earlier, Evidence, file_key
from calkd_edge.release.gates.image_scores import ImageScores
from calkd_edge.release.report.report import JSON_NAME
from calkd_edge.release.scores import MOST_SCORES_BYTES, KeptScores, read_scores
from calkd_edge.release.verification import folder_contradictions, problems_of

OTHER_CLASSES = "the earlier release tells other classes apart"

FEWEST_COMMON = 0.5
"""Share of both releases' test images from which the common ones stand for both."""


@dataclass(frozen=True)
class ReadRelease:
    """A finished release, read whole.

    Attributes:
        path: of its folder or bundle.
        report: its report.
        scores: of its test images; None in a release that kept none.
    """

    path: Path
    report: Report
    scores: KeptScores | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where the report has none."""
        names = self.report.data.get("classes")
        return tuple(map(str, names)) if isinstance(names, list) else ()


def read_release(path: Path) -> ReadRelease:
    """A release from its folder or its bundle, every byte compared with its checksum.

    Raises:
        RecipeError: there is none, it is damaged, or its files contradict each other.
    """
    is_folder = path.is_dir()
    problems = _problems_of_folder(path) if is_folder else problems_of(path)
    if problems:
        raise RecipeError(
            f"{path} is no sound release: {problems[0]}",
            remedy="Name the folder of a finished run or a bundle.zip; calkd-edge verify names all problems.",
        )
    try:
        if not is_folder:
            with opened_zip(path) as archive:
                report = read_report(read_member(archive, JSON_NAME, MOST_JSON_BYTES))
                has_scores = SCORES in archive.namelist()
                content = read_member(archive, SCORES, MOST_SCORES_BYTES) if has_scores else None
                return ReadRelease(path, report, read_scores(content, report) if content else None)
        report = read_report(read_bounded(path / JSON_NAME))
        scores = path / SCORES
        return ReadRelease(path, report, read_scores(scores, report) if kind_of(scores) == FILE else None)
    except (OSError, Unreadable) as wrong:
        raise RecipeError(
            f"{path} cannot be read as a release: {wrong}",
            remedy="Name the folder of a finished run, or a bundle.zip.",
        ) from wrong


def _problems_of_folder(path: Path) -> list[str]:
    problems = ReleaseFolder(path).problems() or folder_contradictions(path)
    if not problems and kind_of(path / BUNDLE) == FILE:
        problems = problems_of(path / BUNDLE)
    return problems


def with_earlier(
    evidence: Sequence[Evidence],
    earlier: ReadRelease,
    now: KeptScores,
    devices: Mapping[str, DeviceFacts],
) -> list[Evidence]:
    """The evidence, each calibrated file beside itself in an earlier release.

    Args:
        evidence: of this release.
        earlier: the release to compare with.
        now: this release's scores.
        devices: facts of this release's devices.
    """
    then = {file_key(m): position for position, m in enumerate(earlier.report.measurements) if m.calibrated}
    result = []
    for item in evidence:
        position = then.get(file_key(item.measurement)) if item.measurement.calibrated else None
        if position is None or earlier.report.measurements[position].quality is None:
            result.append(item)
            continue
        m = earlier.report.measurements[position]
        conditions = _other_conditions(
            item.measurement, m, devices.get(m.device), earlier.report.devices.get(m.device)
        )
        if set(item.classes) != set(earlier.classes):
            result.append(replace(item, earlier=Earlier(m, None, conditions, OTHER_CLASSES)))
            continue
        common = _common(item, earlier, position, now)
        result.append(replace(item, earlier=Earlier(m, common, conditions)))
    return result


def _common(item: Evidence, earlier: ReadRelease, position: int, now: KeptScores) -> ImageScores | None:
    """The earlier scores on images of both, under this release's indices and labels; None where too few."""
    kept = None if earlier.scores is None else earlier.scores.by_measurement.get(position)
    if kept is None or earlier.scores is None or item.scores is None or not earlier.classes:
        return None
    names = {name: label for label, name in enumerate(item.classes)}
    renamed = np.array([names.get(name, -1) for name in earlier.classes], np.int64)
    then_rows = np.searchsorted(earlier.scores.indices, kept.indices)
    pixels, first = np.unique(now.pixels, return_index=True)
    at = np.searchsorted(pixels, earlier.scores.pixels[then_rows]).clip(max=len(pixels) - 1)
    rows = first[at]
    labels = renamed[kept.labels]
    same = (now.pixels[rows] == earlier.scores.pixels[then_rows]) & (now.labels[rows] == labels)
    if same.sum() < FEWEST_COMMON * max(len(kept.labels), len(item.scores.labels)):
        return None
    translated = replace(kept, indices=now.indices[rows], labels=labels, answers=renamed[kept.answers])
    return translated.at(same)


def _other_conditions(
    now: Measurement, then: Measurement, facts: DeviceFacts | None, earlier: DeviceFacts | None
) -> str:
    """Why the times of two releases cannot be compared; empty where they can."""
    if facts is None or earlier is None:
        return "the device is not known"
    for name, first, second in (
        ("board", facts.board, earlier.board),
        ("processor", facts.cpu, earlier.cpu),
        ("power mode", facts.power_mode, earlier.power_mode),
        *_settings(now.latency_ms, then.latency_ms),
    ):
        if first != second:
            return f"another {name} then ({second}) than now ({first})"
    return ""


def _settings(
    now: LatencySummary | None, then: LatencySummary | None
) -> Sequence[tuple[str, object, object]]:
    if now is None or then is None:
        return ()
    return (("number of threads", now.threads, then.threads), ("profile", now.profile, then.profile))
