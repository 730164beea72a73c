"""What a program needs that uses a bundle: labels, how a photo becomes the input, thresholds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calkd_edge.files.visible import visible
from calkd_edge.records import Json, Report

LABELS, PREPROCESSING, THRESHOLDS = "labels.txt", "preprocessing.json", "thresholds.json"


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the input of a released file.

    Attributes:
        height: of the input, in pixels.
        width: of the input, in pixels.
        resize: crop, center_crop, pad or stretch, as in the recipe; none where the images came in this size.
        mean: per channel, subtracted inside the file, as a fraction of 255.
        std: per channel, divided by inside the file, as a fraction of 255.
        note: changes of the pixels before they reached a model, in words.
        fast_jpeg: whether large JPEG files of the data were decoded at a reduced size.
    """

    height: int
    width: int
    resize: Literal["crop", "center_crop", "pad", "stretch", "none"]
    mean: Sequence[float]
    std: Sequence[float]
    note: str
    fast_jpeg: bool = False

    def text(self) -> str:
        """preprocessing.json."""
        tree: dict[str, Json] = {
            "schema_version": 1,
            "input": {
                "name": "images",
                "dtype": "uint8",
                "layout": "NCHW",
                "channels": "RGB",
                "range": [0, 255],
            },
            "decode": {
                "bits": 8,
                "exif_orientation": "applied",
                "transparency": "on white",
                "grey": "repeated to 3 channels",
                **({"large_jpeg": "at a reduced size"} if self.fast_jpeg else {}),
            },
            "resize": {
                "how": self.resize,
                "height": self.height,
                "width": self.width,
                "filter": "bilinear",
                "antialias": True,
            },
            "normalization": {"where": "inside the file", "mean": list(self.mean), "std": list(self.std)},
            "note": self.note,
        }
        return _text(tree)


def labels_text(report: Report) -> str:
    """labels.txt: a class a line, in the order of the outputs."""
    classes = report.data.get("classes")
    names = classes if isinstance(classes, list) else []
    return "".join(f"{visible(' '.join(str(name).splitlines()))}\n" for name in names)


def thresholds_text(report: Report) -> str:
    """thresholds.json: of each file, the thresholds with a guaranteed precision."""
    rows = [row for row in report.measurements if row.model == "student" and row.calibrated]
    tree: dict[str, Json] = {
        "schema_version": 1,
        "guaranteed": [
            {
                "file": row.file,
                "device": row.device,
                "runtime": row.runtime,
                **one.model_dump(include={"precision", "level", "threshold"}),
            }
            for row in rows
            for one in row.guaranteed
        ],
    }
    return _text(tree)


def _text(tree: dict[str, Json]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
