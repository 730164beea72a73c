"""Runs the cells of DESIGN.md, in its order, and keeps what each student came to, run by run.

    PYTHONPATH=benchmarks/distillation python benchmarks/teacher_calibration/run.py --store DIR
        [--root CIFAR100_DIR] [--accelerator cuda] [--jobs N] [--cells labels headline ...] [--only TEACHER]

Results lie beside this file, cpu.json or cuda.json, one row a run with its recipe's digest, its device and
versions; a script that was cut goes on with the next run, on another machine too. `--only` and `--cells`
choose what is run now.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cells
import numpy as np
import torch
from cells import HEADLINE, LOSSES, Scale
from study import Study, Wanted, folder_of

from calkd_edge.calibration.temperature import temperature
from calkd_edge.metrics.per_image import kl_per_image
from calkd_edge.metrics.quality import quality
from calkd_edge.records import Predictions

CELLS = ("labels", "headline", "correlation", "moved tau", "other losses", "sweep")
FIGURES = ("top1", "nll", "brier", "ece", "ece_over", "ece_under", "ace_classwise", "ace_toplabel")


def raw_logits(store: Path, report: Mapping[str, Any], model: str, split: str) -> Predictions:
    """What the network answers without the calibration that its file holds."""
    calibrated = Predictions.load(folder_of(store, report, f"predict-{model}-fp32@local") / f"{split}.npz")
    folder = folder_of(store, report, f"calibrate-{model}-fp32")
    held = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    logits = (calibrated.logits - np.array(held["bias"])) / np.array(held["scale"])
    return replace(calibrated, logits=logits.astype(np.float32))


def figures_of(store: Path, report: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Test figures of raw predictions, before and after the temperature of their calibration split."""
    calibration, test = (raw_logits(store, report, model, split) for split in ("calibration", "test"))
    fitted = temperature(calibration.logits, calibration.labels, ())
    scale = fitted.affine.scale[0]
    plain = quality(test.logits, test.labels, by_class=False)
    scaled = quality(test.logits * scale, test.labels, by_class=False)
    split = quality(calibration.logits, calibration.labels, by_class=False)
    return {
        "temperature": 1 / scale,
        **{name: getattr(plain, name).value for name in FIGURES},
        "own_temperature": {name: getattr(scaled, name).value for name in FIGURES[1:]},
        "calibration_split": {name: getattr(split, name).value for name in FIGURES},
    }


def int8_of(store: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Test figures of the calibrated int8 file where there is one, and its divergence from fp32."""
    stages = [f"predict-student-{precision}@local" for precision in ("int8", "fp32")]
    if not any(line["stage"] == stages[0] for line in report["plan"]):
        return {}
    int8, fp32 = (Predictions.load(folder_of(store, report, stage) / "test.npz") for stage in stages)
    figures = quality(int8.logits, int8.labels, by_class=False)
    divergence = float(kl_per_image(int8.logits, fp32.logits).mean())
    return {"int8": {**{name: getattr(figures, name).value for name in FIGURES}, "kl_to_fp32": divergence}}


def row_of(device: str, store: Path, out: Path) -> dict[str, Any]:
    """What a run came to: its student, and the teacher as it learnt."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    student, teacher = (figures_of(store, report, name) for name in ("student", "teacher"))
    corrupted = [
        {key: row[key] for key in ("corruption", "severity")}
        | {key: row[key]["value"] for key in ("top1", "nll")}
        for file in report["out_of_distribution"]
        if file["measurement"].startswith("student fp32 ")
        for row in file["rows"]
    ]
    return {
        **{name: {"value": student[name]} for name in ("top1", "nll")},
        **int8_of(store, report),
        "student_figures": student,
        "teacher_figures": teacher,
        "corrupted": corrupted,
        "device": device,
        "versions": {package: version(package) for package in ("calkd-edge", "torch")},
    }


def device_name(accelerator: str) -> str:
    """The card, or the processor."""
    if accelerator == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def runs_of(cell: str, scale: Scale, study: Study) -> Iterable[Wanted]:
    """The runs of a cell."""
    if cell == "labels":
        return cells.without_teacher(scale)
    if cell == "headline":
        return cells.headline(scale, "kd", "kd standardised")
    if cell == "correlation":
        return cells.correlation(scale)
    if cell == "other losses":
        return cells.headline(scale, *(loss for loss in LOSSES if loss not in ("kd", "kd standardised")))
    if cell == "sweep":
        return cells.sweep(scale)
    fitted = {
        teacher: row["teacher_figures"]["temperature"]
        for teacher in HEADLINE
        for row in study.rows.values()
        if row["teacher"] == teacher
    }
    return cells.moved_tau(scale, fitted) if len(fitted) == len(HEADLINE) else ()


def teachers_first(runs: list[Wanted]) -> list[Wanted]:
    """A run of each teacher, then the others: two runs at a time need not wait for the same teacher."""
    of_teacher = {run.facts["teacher"]: run.name for run in reversed(runs)}
    return sorted(runs, key=lambda run: of_teacher[run.facts["teacher"]] != run.name)


def main() -> None:
    """Every cell that is chosen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--only", action="append", help="a teacher; repeatable")
    options = parser.parse_args()
    scale = Scale.of(options.accelerator, options.root)
    result = Path(__file__).with_name(f"{options.accelerator}.json")
    row = partial(row_of, device_name(options.accelerator))
    study = Study(options.store, result, options.jobs, row)
    early = [cell for cell in options.cells if cell in CELLS[:2]]
    for group in (early, *([cell] for cell in options.cells if cell not in early)):
        chosen = [
            run
            for cell in group
            for run in runs_of(cell, scale, study)
            if run.facts["teacher"] in (options.only or cells.TEACHERS)
        ]
        study.bring(teachers_first(chosen))
    study.write()


if __name__ == "__main__":
    main()
