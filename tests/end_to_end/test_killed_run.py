"""SIGKILL, ten times and more in one run: the same student, and no work published twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import RECIPE, recipe_with, written

DRIVER = Path(__file__).parents[1] / "support" / "kill_driver.py"
KINDS = {"teacher", "soft-labels", "distill", "export", "predict", "report"}

# Enough epochs and views that a kill falls into the midst of training and of the teacher's pass.
LONGER = recipe_with(
    teacher_training={**RECIPE["teacher_training"], "epochs": 8},
    distill={**RECIPE["distill"], "epochs": 12, "soft_labels": {"views": 6, "images_per_step": 32}},
)


def drive(recipe: Path | str, folder: Path, *arguments: str) -> tuple[str, str]:
    """What the driver printed and the SHA-256 of the student's weights; it must have found nothing wrong."""
    places = ["--recipe", str(recipe), "--store", str(folder / "store"), "--out", str(folder / "out")]
    done = subprocess.run(
        [sys.executable, str(DRIVER), *places, *arguments], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = re.search(r"SHA-256: ([0-9a-f]{64})", done.stdout)
    assert found, done.stdout
    return done.stdout, found[1]


def kinds_killed(said: str) -> list[str]:
    killed = re.findall(r"^kill \d+: ([\w-]+)", said, flags=re.MULTILINE)
    return [next((kind for kind in KINDS if name.startswith(kind)), name) for name in killed]


@pytest.mark.serial
@pytest.mark.slow
def test_ten_kills_in_one_run_end_with_the_student_of_a_run_without_kills(tmp_path):
    recipe = written(tmp_path, LONGER)
    _, whole = drive(recipe, tmp_path / "whole", "--kills", "0")
    said, weights = drive(recipe, tmp_path / "killed", "--kills", "11", "--seed", "3", "--expect", whole)
    assert weights == whole
    assert "the parent alone" in said
    assert len(kinds_killed(said)) >= 10
    assert set(kinds_killed(said)) == KINDS


@pytest.mark.serial
@pytest.mark.slow
def test_ten_kills_in_a_smoke_run_of_the_quickstart_too(tmp_path):
    smoke = ("quickstart.yaml", tmp_path / "whole", "--smoke", "--kills", "0")
    _, whole = drive(*smoke)
    killed = ("quickstart.yaml", tmp_path / "killed", "--smoke", "--kills", "10", "--expect", whole)
    said, weights = drive(*killed)
    assert weights == whole
    assert len(kinds_killed(said)) >= 10
    assert set(kinds_killed(said)) == KINDS
