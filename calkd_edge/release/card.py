"""The model card: what a person must know before using the file, generated from the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from calkd_edge.records import Json, Report
from calkd_edge.release.report import page, table
from calkd_edge.release.report.report import environment


def render(
    report: Report, *, files: Sequence[str], golden: Mapping[str, NDArray[Any]], first_word: str
) -> str:
    """MODEL_CARD.md as text; its first word is `first_word`.

    Class names are read from `report.data["classes"]` when it is a list, limits from the gates that did not
    pass.
    """
    classes = report.data.get("classes")
    shape = golden["images"].shape
    released = tuple(one for one in report.measurements if one.model != "control")
    shipped = report.model_copy(update={"measurements": released})
    made = environment(autoescape=False)
    made.filters["cell"] = _cell
    return made.get_template("model_card.md.j2").render(
        report=report,
        first_word=first_word,
        lead=page.LEADS[report.verdict],
        summary=page.summary(report),
        files=sorted(files),
        shape=shape,
        classes=[_cell(name) for name in classes] if isinstance(classes, list) else [],
        columns=table.COLUMNS,
        rows=[row for row in table.rows(shipped) if row.calibrated == "yes"],
        calibrations=page.calibrations(shipped),
        open_gates=[gate for gate in report.gates if gate.result != "passed"],
    )


def _cell(value: Json) -> str:
    """Text that cannot start markup in Markdown or HTML."""
    text = " ".join(str(value).split())
    for sign, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("[", "\\["),
    ):
        text = text.replace(sign, safe)
    return text
