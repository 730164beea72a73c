"""Images per second of distillation loops, and what a whole job of 240 epochs would take.

For each pair of teacher and student: our loop on soft labels, our loop with the teacher live, the pass of the
teacher over the views, a loop of torch's own parts on the same soft labels, and one in the field's manner (a
loader, a live teacher, figures read in each step: mdistiller's); same networks, images per step and machine,
each in a process of its own, in turns, so that the machine's drift falls on all. Seconds of whole jobs are
computed from these. One short job is run for real and held against the same formula. Writes its result beside
itself after each pair, and goes on with the next one when it is started again on the same machine.

    python benchmarks/distillation/speed.py --work DIR --root CIFAR100_DIR
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from loops import AUGMENTATION, IMAGES_PER_STEP, LOSSES, OPTIMIZER, TEACHER_IMAGES_PER_STEP

from calkd_edge.files.environment import SPINS, TURNS_ALONE
from calkd_edge.models import MODELS

HERE = Path(__file__).parent
RESULT = HERE / "speed.json"
SETTINGS = {"mobilenet_v2": {"width": 0.5, "divisor": 1}}
"""The literature's student at half width."""

PAIRS = (
    ("wrn_40_2", "mobilenet_v2", 5.0),
    ("resnet56", "mobilenet_v2", 5.0),
    ("resnet32x4", "shufflenet_v2", 5.0),
    ("resnet32x4", "shufflenet_v1", 3.0),
    ("wrn_40_2", "shufflenet_v1", 3.0),
)
"""Teacher, student, and how many times the speed of the field's loop is wanted of the whole job."""

LOOPS = ("stored", "live", "teacher", "plain", "the field's")
OURS = ("stored", "live", "teacher")
ROUNDS, STEPS, TEACHER_STEPS = 2, 100, 10
JOB = {"images": 50_000, "epochs": 240}
"""The field's protocol."""

VIEWS = (4, 16, 60)
"""Stored views to compute it for; views.py measures how many a student needs."""

SHORT = {"teacher": "wrn_40_2", "student": "mobilenet_v2", "epochs": 8, "views": 2}
TRAIN_IMAGES = 5000


def spelled(name: str) -> str:
    """A network with its settings, as loops.py takes it."""
    return name + (json.dumps(SETTINGS[name]) if name in SETTINGS else "")


def short_job(work: Path, root: str | None) -> tuple[Path, dict[str, float]]:
    """A whole short job from an untrained teacher: its prepared data, and the seconds of its stages."""
    torch.manual_seed(0)
    backbone = MODELS.load(SHORT["teacher"])(100, (3, 32, 32))
    work.mkdir(parents=True, exist_ok=True)
    torch.save(backbone.state_dict(), work / "teacher.pth")
    data = {"name": "cifar100", "root": root, "train_images": TRAIN_IMAGES}
    training = {"epochs": SHORT["epochs"], "images_per_step": IMAGES_PER_STEP, "optimizer": OPTIMIZER}
    losses = [{"name": loss.name, "weight": loss.weight, **loss.settings} for loss in LOSSES]
    stored = {"views": SHORT["views"], "images_per_step": TEACHER_IMAGES_PER_STEP}
    augmentation = {"name": AUGMENTATION.name, **AUGMENTATION.settings}
    recipe = {
        "version": 1,
        "name": "short_job",
        "data": {**data, "calibration_images": 1000, "test_images": 1000, "augmentation": augmentation},
        "teacher": {"name": SHORT["teacher"], "weights": str(work / "teacher.pth"), "trained_on": "other"},
        "student": {"name": SHORT["student"], **SETTINGS[SHORT["student"]]},
        "distill": {**training, "losses": losses, "soft_labels": stored},
        "precisions": [{"name": "fp32"}],
    }
    (work / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(work / "recipe.yaml")]
    command += ["--store", str(work / "store"), "--out", str(work / "out"), "--accelerator", "cpu"]
    shutil.rmtree(work / "store", ignore_errors=True)  # what is reused takes no time
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, 4):  # an untrained teacher's temperature may be undecided
        raise SystemExit(f"the short job ended with {code}")
    plan = json.loads((work / "out" / "report.json").read_text(encoding="utf-8"))["plan"]
    (data_folder,) = (line["fingerprint"] for line in plan if line["stage"] == "prepare")
    seconds = {line["stage"]: line["seconds"] for line in plan}
    return work / "store" / "objects" / data_folder[:2] / data_folder, seconds


def against_formula(seconds: dict[str, float], speeds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the short job took, against what the formula of whole jobs gives for it."""
    stored, run = speeds["stored"], seconds["soft-labels"] + seconds["distill"]
    computed = SHORT["epochs"] * (TRAIN_IMAGES / stored["images_per_second"] + stored["epoch_end_s"])
    computed += SHORT["views"] * TRAIN_IMAGES / speeds["teacher"]["images_per_second"]
    return {
        **SHORT,
        "images": TRAIN_IMAGES,
        "seconds": round(run, 1),
        "seconds_computed": round(computed, 1),
        "run_over_computed": round(run / computed, 3),
    }


def timed(loop: str, teacher: str, student: str, data: Path) -> dict[str, Any]:
    """One loop in a process of its own."""
    command = [sys.executable, str(HERE / "loops.py"), loop, spelled(teacher), spelled(student)]
    steps = TEACHER_STEPS if loop == "teacher" else STEPS
    environment = {**os.environ, SPINS: TURNS_ALONE} if loop in OURS else None  # as `compress` chooses it
    done = subprocess.run(
        [*command, str(data), str(steps)], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        raise SystemExit(f"{loop} of {teacher} -> {student} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(teacher: str, student: str, data: Path) -> dict[str, dict[str, Any]]:
    """Every loop's figures over all rounds."""
    rounds: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
    for _ in range(ROUNDS):
        for loop in LOOPS:
            rounds[loop].append(timed(loop, teacher, student, data))
    found = {}
    for loop, told in rounds.items():
        size = told[0]["images_per_step"]
        each = [size * len(one["seconds"]) / sum(one["seconds"]) for one in told]
        seconds = [second for one in told for second in one["seconds"]]
        found[loop] = {
            "images_per_second": round(size * len(seconds) / sum(seconds), 1),
            "each_round": [round(speed, 1) for speed in each],
            "steps": len(seconds),
            "images_per_step": size,
            "peak_mib": max(one["peak_mib"] for one in told),
        }
    found["stored"]["epoch_end_s"] = round(statistics.mean(one["epoch_end_s"] for one in rounds["stored"]), 3)
    return found


def whole_jobs(speeds: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Seconds of the field's job by each loop, computed from its speed."""
    rate = {loop: told["images_per_second"] for loop, told in speeds.items()}
    shown = JOB["images"] * JOB["epochs"]
    ends = JOB["epochs"] * speeds["stored"]["epoch_end_s"]
    stored = {
        f"stored, {views} views": shown / rate["stored"] + JOB["images"] * views / rate["teacher"] + ends
        for views in VIEWS
    }
    others = {"live": shown / rate["live"] + ends, "the field's": shown / rate["the field's"]}
    return {loop: round(seconds) for loop, seconds in {**stored, **others}.items()}


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = {package: version(package) for package in ("torch", "calkd-edge")}
    return {"cpu": name, "machine": platform.machine(), "cores": os.cpu_count(), **packages}


def main() -> None:
    """Every pair, then the short job; results are written as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="for data and folders of the short job")
    parser.add_argument("--root", default=None, help="holds CIFAR-100; downloaded when left out")
    options = parser.parse_args()
    data, seconds_of_short = short_job(options.work, options.root)
    result: dict[str, Any] = {"machine": machine(), "job": JOB, "pairs": []}
    if RESULT.is_file() and (kept := json.loads(RESULT.read_text("utf-8")))["machine"] == result["machine"]:
        result["pairs"] = kept["pairs"]
    done = {(pair["teacher"], pair["student"]) for pair in result["pairs"]}
    for teacher, student, wanted in PAIRS:
        if (teacher, student) in done:
            continue
        speeds = measured(teacher, student, data)
        seconds = whole_jobs(speeds)
        pair = {
            "teacher": teacher,
            "student": student,
            "loops": speeds,
            "seconds_of_whole_job_computed": seconds,
            "times_as_fast_as_the_fields": {
                loop: round(seconds["the field's"] / took, 2) for loop, took in seconds.items()
            },
            "student_step_times_as_fast_as_plain": round(
                speeds["stored"]["images_per_second"] / speeds["plain"]["images_per_second"], 2
            ),
            "wanted": wanted,
        }
        if (teacher, student) == (SHORT["teacher"], SHORT["student"]):
            pair["short_job"] = against_formula(seconds_of_short, speeds)
        result["pairs"].append(pair)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        rates = {loop: told["images_per_second"] for loop, told in speeds.items()}
        print(teacher, student, rates, pair["times_as_fast_as_the_fields"], flush=True)


if __name__ == "__main__":
    main()
