"""What a report shows beside its figures, read from published folders; the commit of the program."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from calkd_edge.export.artifacts import HISTORY
from calkd_edge.pipeline.commit import program_commit
from calkd_edge.pipeline.shown import MOST_EPOCHS, training


def history(folder, lines):
    (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return training(folder)


def test_an_epoch_has_the_sum_of_its_losses_and_its_figures(tmp_path):
    line = {"epoch": 0, "train_kd": 1.5, "train_cross_entropy": 0.5, "calibration_top1": 0.25}
    epoch = history(tmp_path, [line | {"calibration_nll": float("nan")}])[0]
    assert (epoch.loss, epoch.top1, epoch.nll) == (2.0, 0.25, None)


def test_a_long_training_is_thinned_and_one_made_elsewhere_has_no_epochs(tmp_path):
    epochs = history(tmp_path, [{"epoch": k} for k in range(5000)])
    assert (len(epochs), epochs[0].epoch, epochs[-1].epoch) == (MOST_EPOCHS, 0, 4999)
    assert history(tmp_path, [{"weights": "0" * 64}]) == history(tmp_path, []) == ()


def test_the_commit_of_a_checkout_is_read_from_its_files(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    first, further = tmp_path / "first", tmp_path / "further"
    (first / "package").mkdir(parents=True)
    (first / "package" / "a.py").write_text("1\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *author, *words], cwd=first, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for line in ("init -q", "add -A", "commit -qm a"):
        git(*line.split())
    expected = f"{git('rev-parse', 'HEAD')[:12]} (checkout)"
    assert program_commit(first / "package") == expected
    git("pack-refs", "--all")
    assert program_commit(first / "package") == expected
    git("worktree", "add", "-q", str(further))
    assert program_commit(further / "package") == expected
    git("checkout", "-q", "--detach")
    assert program_commit(first / "package") == expected


def test_a_checkout_that_git_cannot_read_has_no_commit(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "package").mkdir()
    assert program_commit(tmp_path / "package") is None
