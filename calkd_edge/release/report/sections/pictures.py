"""Section Pictures: the most confident wrong answers, and where a precision differs most from fp32."""

from __future__ import annotations

from dataclasses import dataclass

from calkd_edge.records import Picture, Report
from calkd_edge.release.report import numbers
from calkd_edge.release.report.figures.plot import shortened
from calkd_edge.release.report.section import Context, Section, packaged
from calkd_edge.release.report.sections.classes import class_name

LONGEST_NAME = 40
"""Characters of a class name below a picture; the image's description has it in full."""


@dataclass(frozen=True)
class Thumbnail:
    """An image with its caption.

    Attributes:
        image: as a data URL.
        label: the class, in full.
        lines: of the caption.
    """

    image: str
    label: str
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """The class, at most LONGEST_NAME characters of it."""
        return shortened(self.label, LONGEST_NAME)


def _error(report: Report, picture: Picture) -> Thumbnail:
    answer = class_name(report, picture.answer)
    return Thumbnail(
        picture.image,
        class_name(report, picture.label),
        (f"taken for {shortened(answer, LONGEST_NAME)}", numbers.percent(picture.confidence)),
    )


def _pair(report: Report, picture: Picture) -> Thumbnail:
    label = class_name(report, picture.label)
    answer, other = (
        numbers.MISSING if named is None else shortened(class_name(report, named), LONGEST_NAME)
        for named in (picture.answer, picture.other_answer)
    )
    here = f"{answer} {numbers.percent(picture.confidence)}"
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
