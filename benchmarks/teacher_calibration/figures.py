"""What a finished run came to: its student's figures, and the teacher's as it learnt.

The files of a run are calibrated as its recipe says, a student of a raw teacher otherwise than one of a
calibrated one. So that students compare, every figure here is of predictions with that calibration undone,
and again after one temperature that is fitted to them on the calibration split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from study import folder_of

from calkd_edge.calibration.temperature import temperature
from calkd_edge.metrics.per_image import kl_per_image
from calkd_edge.metrics.quality import quality
from calkd_edge.records import Predictions

FIGURES = ("top1", "nll", "brier", "ece", "ece_over", "ece_under", "ace_classwise", "ace_toplabel")
TRAINED = ("teacher", "distill", "quantize-student-fp32", "quantize-student-int8")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        store: of calkd-edge.
        report: its report.json.
    """

    store: Path
    report: Mapping[str, Any]

    def has(self, stage: str) -> bool:
        """Whether the run has the stage."""
        return any(line["stage"] == stage for line in self.report["plan"])

    def uncalibrated(self, file: str, predictions: Predictions) -> Predictions:
        """Predictions of a file, as "student-int8", without the calibration that it holds."""
        folder = folder_of(self.store, self.report, f"calibrate-{file}")
        held = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        logits = (predictions.logits - np.array(held["bias"])) / np.array(held["scale"])
        return replace(predictions, logits=logits.astype(np.float32))

    def of_split(self, file: str, split: str) -> Predictions:
        """What the network answers for a split."""
        folder = folder_of(self.store, self.report, f"predict-{file}@local")
        return self.uncalibrated(file, Predictions.load(folder / f"{split}.npz"))

    def own_scale(self, file: str) -> float:
        """The factor of the logits that minimises NLL on the calibration split."""
        calibration = self.of_split(file, "calibration")
        return float(temperature(calibration.logits, calibration.labels, ()).affine.scale[0])

    def figures(self, file: str) -> dict[str, Any]:
        """Test figures, before and after the file's own temperature, and those of the calibration split."""
        scale, test = self.own_scale(file), self.of_split(file, "test")
        return {
            "temperature": 1 / scale,
            **_scored(test),
            "own_temperature": _scored(replace(test, logits=test.logits * np.float32(scale))),
            "calibration_split": _scored(self.of_split(file, "calibration")),
        }

    def batch_norm(self, model: str) -> dict[str, Any]:
        """Which statistics of batch normalisation stayed, and what each gave on calibration images."""
        last = self.report["models"][model]["last_epoch"]
        return {key: value for key, value in last.items() if key.startswith("batch_norm_")}

    def int8(self) -> dict[str, Any]:
        """The int8 file's test figures, where there is one, and its divergence from fp32's answers."""
        if not self.has("quantize-student-int8"):
            return {}
        int8, fp32 = (self.of_split(f"student-{precision}", "test") for precision in ("int8", "fp32"))
        divergence = float(kl_per_image(int8.logits, fp32.logits).mean())
        return {"int8": self.figures("student-int8") | {"kl_to_fp32": divergence}}

    def corrupted(self) -> Iterator[dict[str, Any]]:
        """The student's figures on each corruption of some test images."""
        scale = np.float32(self.own_scale("student-fp32"))
        folder = folder_of(self.store, self.report, "predict-corrupted-student-fp32@local")
        for path in sorted(folder.glob("*.npz")):
            raw = self.uncalibrated("student-fp32", Predictions.load(path))
            plain, scaled = _scored(raw), _scored(replace(raw, logits=raw.logits * scale))
            yield {
                "corruption": path.stem,
                "images": len(raw.labels),
                "top1": plain["top1"],
                "nll": plain["nll"],
                "nll_own_temperature": scaled["nll"],
            }


def _scored(predictions: Predictions) -> dict[str, float]:
    scored = quality(predictions.logits, predictions.labels, by_class=False)
    return {name: getattr(scored, name).value for name in FIGURES}


def row_of(device: str, store: Path, out: Path) -> dict[str, Any]:
    """A row of the result: figures, and what made them."""
    run = Run(store, json.loads((out / "report.json").read_text(encoding="utf-8")))
    student = run.figures("student-fp32")
    return {
        **{name: {"value": student[name]} for name in ("top1", "nll")},
        **run.int8(),
        "student_figures": student,
        "teacher_figures": run.figures("teacher-fp32"),
        "corrupted": list(run.corrupted()),
        "batch_norm": {name: run.batch_norm(name) for name in ("teacher", "student")},
        "device": device,
        "versions": {package: version(package) for package in ("calkd-edge", "torch")},
        "commit": run.report["environment"]["commit"],
        "stages": {
            line["stage"]: line["fingerprint"] for line in run.report["plan"] if line["stage"] in TRAINED
        },
    }
