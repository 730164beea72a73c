"""The smallest whole recipe, and the command line run in this very process."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from calkd_edge.cli import app as cli

RECIPE: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "seed": 17,
    "data": {"name": "synthetic", "calibration_images": 120},
    "teacher": {"name": "resnet8", "width": 0.5},
    "teacher_training": {"epochs": 2, "images_per_step": 32, "optimizer": {"lr": 0.05}},
    "student": {"name": "resnet8", "width": 0.5},
    "distill": {
        "epochs": 2,
        "images_per_step": 32,
        "optimizer": {"lr": 0.05},
        "losses": [
            {"name": "cross_entropy", "weight": 0.5},
            {"name": "kd", "weight": 0.5, "temperature": 2.0},
        ],
        "soft_labels": {"views": 1},
    },
    "precisions": [{"name": "fp32"}, {"name": "int8", "images": 32}],
    "benchmark": {"min_runs": 20, "min_seconds": 0.1},
    "gates": [{"metric": "size_bytes", "max": 4_000_000}, {"metric": "top1", "min": 0.15}],
}


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def stages(self) -> dict[str, bool]:
        """Of a --dry-run --json: stage name -> whether it is there already."""
        return {line["stage"]: line["reused"] for line in json.loads(self.out)["stages"]}


def command(*arguments: object) -> Done:
    """calkd-edge with these arguments, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    root = logging.getLogger()
    for handler in [one for one in root.handlers if type(one) is logging.FileHandler]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(False)
    return Done(code, out.getvalue(), err.getvalue())


def recipe_with(**changes: Any) -> dict[str, Any]:
    """The tiny recipe with whole sections replaced; a section given as None is taken out."""
    tree = copy.deepcopy(RECIPE)
    for section, content in changes.items():
        if content is None:
            del tree[section]
        else:
            tree[section] = content
    return tree


def written(folder: Path, tree: dict[str, Any] | str, name: str = "recipe.yaml") -> Path:
    """The tree as a recipe file."""
    path = folder / name
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False))
    return path


@dataclass(frozen=True)
class TinyRun:
    """One finished run of the tiny recipe, shared by all tests that only look at it or reuse its stages."""

    recipe: Path
    store: Path
    out: Path
    done: Done

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        tree: dict[str, Any] = json.loads((self.out / "report.json").read_text())
        return tree

    def stage_folder(self, stage: str) -> Path:
        """What one of its stages published; other runs may have the same stage in the same store."""
        prints = {line["stage"]: line["fingerprint"] for line in self.report["plan"]}
        return self.store / "objects" / prints[stage][:2] / prints[stage]

    def again(self, out: Path, *arguments: object) -> Done:
        """The same recipe on the same store into another folder."""
        return command("compress", "--recipe", self.recipe, "--store", self.store, "--out", out, *arguments)


def journal(store: Path) -> list[dict[str, Any]]:
    """Every event in a store, in order."""
    lines = (store / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
