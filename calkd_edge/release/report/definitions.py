"""What every number on a page means; the texts are in definitions.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from calkd_edge.metrics.intervals import FEWEST_IMAGES_FOR_A_MEAN, FEWEST_IMAGES_FOR_ECE
from calkd_edge.release.gates.metrics import METRICS

TEXTS = Path(__file__).parent / "definitions.yaml"


def definitions(bins: int) -> list[tuple[str, str]]:
    """(term, meaning) in the order in which a reader meets them.

    Args:
        bins: number of bins of the calibration errors.
    """
    values = {
        "bins": str(bins),
        "mean_images": f"{FEWEST_IMAGES_FOR_A_MEAN:,}",
        "ece_images": f"{FEWEST_IMAGES_FOR_ECE:,}",
        "compared": ", ".join(name for name, metric in METRICS.items() if metric.against == "fp32"),
    }
    entries: list[dict[str, str]] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return [(entry["term"].format(**values), entry["meaning"].format(**values)) for entry in entries]
