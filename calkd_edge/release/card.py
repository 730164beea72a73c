"""The model card: what a person must know before using the model, generated from the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calkd_edge.records import Report
from calkd_edge.release.report import table
from calkd_edge.release.report.markdown import cell
from calkd_edge.release.report.page import LEADS, summary, template_environment
from calkd_edge.release.report.sections.calibration import fits
from calkd_edge.release.report.sections.thresholds import guaranteed


def render(
    report: Report, *, files: Sequence[str], golden: Mapping[str, NDArray[np.generic]], first_word: str
) -> str:
    """MODEL_CARD.md as text.

    Class names are read from `report.data["classes"]` where it is a list; the limits name the gates that did
    not pass.

    Args:
        report: of the released run.
        files: names of the released files.
        golden: "images" -> uint8 [n, 3, H, W].
        first_word: first word of the card.
    """
    classes = report.data.get("classes")
    shape = golden["images"].shape
    released = tuple(m for m in report.measurements if m.is_released)
    shipped = report.model_copy(update={"measurements": released})
    environment = template_environment(autoescape=False)
    environment.filters["cell"] = cell
    return environment.get_template("model_card.md.j2").render(
        report=report,
        first_word=first_word,
        lead=LEADS[report.verdict],
        summary=summary(report),
        files=sorted(files),
        shape=shape,
        classes=[cell(name) for name in classes] if isinstance(classes, list) else [],
        columns=table.COLUMNS,
        rows=[row for row in table.rows(shipped) if row.calibrated == "yes"],
        calibrations=fits(shipped).lines,
        guaranteed=guaranteed(shipped),
        open_gates=[gate for gate in report.gates if gate.result != "passed"],
    )
