"""Section Pictures: the most confident wrong answers, and where a precision differs most from fp32."""

from __future__ import annotations

from dataclasses import dataclass

from calkd_edge.records import Picture, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.section import Context, Section, packaged
from calkd_edge.release.report.sections.classes import class_name


@dataclass(frozen=True)
class Thumbnail:
    """An image with its caption."""

    image: str
    label: str
    lines: tuple[str, ...]


def _error(report: Report, picture: Picture) -> Thumbnail:
    answer = class_name(report, picture.answer)
    return Thumbnail(
        picture.image,
        class_name(report, picture.label),
        (f"taken for {answer}", numbers.percent(picture.confidence)),
    )


def _pair(report: Report, picture: Picture) -> Thumbnail:
    label = class_name(report, picture.label)
    here = f"{class_name(report, picture.answer)} {numbers.percent(picture.confidence)}"
    other = numbers.MISSING if picture.other_answer is None else class_name(report, picture.other_answer)
    return Thumbnail(
        picture.image, label, (here, f"fp32: {other} {numbers.percent(picture.other_confidence)}")
    )


def _context(report: Report) -> Context | None:
    groups = []
    for group in report.pictures:
        if group.kind == "confident_errors":
            title, show = f"Most confident wrong answers of {group.measurement}", _error
        else:
            title, show = f"Largest differences of {group.measurement} from fp32", _pair
        groups.append((title, [show(report, picture) for picture in group.pictures]))
    return {"groups": groups} if groups else None


PICTURES = Section("pictures", "Pictures", packaged("pictures"), _context)
