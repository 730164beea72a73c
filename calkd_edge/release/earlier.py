"""An earlier release, for comparison: its report, its scores, and what of it this release can be paired with.

In scope: reading a folder or a bundle, and matching files and images. Out of scope: judging, showing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import MOST_JSON_BYTES, Unreadable, read_bounded
from calkd_edge.files.paths import check_path
from calkd_edge.files.zipped import opened_zip, read_member
from calkd_edge.records import DeviceFacts, IntArray, LatencySummary, Measurement, Report
from calkd_edge.release.contents import BUNDLE, FILE, SCORES, check_not_unpacked, kind_of, read_report
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.gates.evidence import Earlier, Evidence, file_key
from calkd_edge.release.gates.image_scores import ImageScores
from calkd_edge.release.report.report import JSON_NAME
from calkd_edge.release.scores import MOST_SCORES_BYTES, KeptScores, read_scores
from calkd_edge.release.verification import folder_contradictions, problems_of

OTHER_CLASSES = "the earlier release tells other classes apart"

OTHER_IMAGES = "fewer than half of the test images are common to both"
NO_SCORES = "the earlier release kept no scores"
NO_SCORES_NOW = "this release has no scores"

FEWEST_COMMON = 0.5
"""Share of both releases' different test images from which the common ones stand for both."""


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
    check_path(path, "the release")
    if not path.exists():
        raise RecipeError(
            f"{path}: there is no such folder or file",
            remedy="Name the folder of a finished run, such as runs/NAME, or a bundle.zip.",
        )
    is_folder = path.is_dir()
    if is_folder:
        check_not_unpacked(path)
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
        if sorted(item.classes) != sorted(earlier.classes):
            result.append(replace(item, earlier=Earlier(m, None, conditions, OTHER_CLASSES)))
            continue
        common, why, distinct = _common(item, earlier, position, now)
        result.append(replace(item, earlier=Earlier(m, common, conditions, unpaired=why, distinct=distinct)))
    return result


def _common(
    item: Evidence, earlier: ReadRelease, position: int, now: KeptScores
) -> tuple[ImageScores | None, str, int]:
    """The earlier scores on images of both, each once, under this release's indices and labels.

    Returns:
        None and the reason where there are too few or none; and the number of different images of this
        release. An image is its pixels with its label.
    """
    kept = None if earlier.scores is None else earlier.scores.by_measurement.get(position)
    if kept is None or earlier.scores is None:
        return None, NO_SCORES, 0
    if item.scores is None:
        return None, NO_SCORES_NOW, 0
    names = {name: label for label, name in enumerate(item.classes)}
    renamed = np.array([names[name] for name in earlier.classes], np.int64)
    then_images = _images(earlier.scores, kept.indices, renamed[kept.labels])
    now_images = _images(now, item.scores.indices, item.scores.labels)
    _, at_now, at_then = np.intersect1d(now_images, then_images, return_indices=True)
    distinct = len(np.unique(now_images))
    if len(at_now) < FEWEST_COMMON * max(distinct, len(np.unique(then_images))):
        return None, OTHER_IMAGES, distinct
    order = np.argsort(at_then)
    at_now, at_then = at_now[order], at_then[order]
    translated = replace(
        kept.at(at_then),
        indices=item.scores.indices[at_now],
        labels=item.scores.labels[at_now],
        answers=renamed[kept.answers[at_then]],
    )
    return translated, "", distinct


def _images(scores: KeptScores, indices: IntArray, labels: IntArray) -> NDArray[np.void]:
    """The digest and the label of each image, [N]."""
    pixels = scores.pixels[np.searchsorted(scores.indices, indices)]
    images = np.empty(len(indices), [("pixels", np.uint64), ("label", np.int64)])
    images["pixels"], images["label"] = pixels, labels
    return images


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
