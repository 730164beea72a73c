"""The model card: what a person must know before using the model, generated from the report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from calkd_edge.records import Report
from calkd_edge.release.consumption import Preprocessing
from calkd_edge.release.hub_head import head
from calkd_edge.release.report import table
from calkd_edge.release.report.markdown import cell
from calkd_edge.release.report.page import lead, summary, template_environment
from calkd_edge.release.report.sections.calibration import fits
from calkd_edge.release.report.sections.thresholds import guaranteed


def render(
    report: Report,
    *,
    files: Sequence[str],
    preprocessing: Preprocessing,
    photos: Collection[str],
    first_word: str,
) -> str:
    """README.md as text: the head that the Hub reads, then the card.

    Class names are read from `report.data["classes"]` where it is a list; the limits name the gates that did
    not pass.

    Args:
        report: of the released run.
        files: names of the released files.
        preprocessing: how a photo becomes the input.
        photos: names of the golden photos.
        first_word: first word of the card, after the head.
    """
    classes = report.data.get("classes")
    released = tuple(m for m in report.measurements if m.is_released)
    shipped = report.model_copy(update={"measurements": released})
    environment = template_environment(autoescape=False)
    environment.filters["cell"] = cell
    return head(report) + environment.get_template("model_card.md.j2").render(
        report=report,
        first_word=first_word,
        lead=lead(report),
        summary=summary(report),
        origin=list(_origin(report)),
        files=sorted(files),
        pre=preprocessing,
        photos=photos,
        classes=[cell(name) for name in classes] if isinstance(classes, list) else [],
        columns=table.COLUMNS,
        rows=[row for row in table.rows(shipped) if row.calibrated == "yes"],
        calibrations=fits(shipped).lines,
        guaranteed=guaranteed(shipped),
        open_gates=[gate for gate in report.gates if gate.result != "passed"],
    )


def _origin(report: Report) -> Iterator[str]:
    """Sentences about the networks and the data behind the files."""
    for role in ("student", "teacher"):
        facts = report.models.get(role)
        if isinstance(facts, dict):
            settings = facts.get("settings")
            pairs = settings.items() if isinstance(settings, dict) else ()
            shown = ", ".join(f"{key} {value}" for key, value in pairs)
            yield f"The {role} is {facts.get('name')}{f' ({shown})' if shown else ''}."
    images = report.data.get("images")
    if isinstance(images, dict):
        counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
        yield f"Images: {counts}; {report.data.get('read_as')}."
    if report.data.get("license"):
        yield f"Terms of use of the images: {report.data['license']}."
