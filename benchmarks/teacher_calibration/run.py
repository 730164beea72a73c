"""Runs the cells of DESIGN.md, in its order, and keeps what each student came to, run by run.

    PYTHONPATH=benchmarks/distillation python benchmarks/teacher_calibration/run.py --store DIR
        [--root CIFAR100_DIR] [--accelerator cuda] [--jobs N] [--cells labels headline ...] [--only TEACHER]

Results lie beside this file, cpu.json or cuda.json, one row a run with its recipe's digest, its device and
versions; a script that was cut goes on with the next run, on another machine too. `--only` and `--cells`
choose what is run now.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cells
import torch
from cells import HEADLINE, LOSSES, Scale
from figures import row_of
from results import Results
from study import Study, Wanted

CELLS = ("labels", "headline", "correlation", "moved tau", "other losses", "sweep")


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
    teachers = Results(study.rows, scale).teachers
    if missing := [name for name in HEADLINE if name not in teachers]:
        print(f"moved tau: left out, as no row has the temperature of {', '.join(missing)}", flush=True)
        return ()
    return cells.moved_tau(scale, {name: figures["temperature"] for name, figures in teachers.items()})


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
        study.bring(chosen)
    study.write()


if __name__ == "__main__":
    main()
