"""Every value of every option of a recipe runs whole, or is refused when it is planned.

`make test` runs the options of sections joined into few recipes, `make test-all` every case alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import typing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_option import Case, cases, packed
from option_tables import BASE, DISCRIMINATOR, KINDS, NOT_HERE
from PIL import Image
from tiny_run import TinyRun, command, written

from calkd_edge.errors import RecipeError
from calkd_edge.pipeline import listing
from calkd_edge.recipe.schema import Recipe, parse
from calkd_edge.recipe.training import Section

CASES = cases()
PLACES = {name: f"/{name}" for name in ("folder", "cifar100", "onnx", "weights")}
PASSED = (0, 4)
DOC = Path(__file__).parents[2] / "docs" / "recipe.md"
APART = (
    "data",
    "student",
    "teacher",
    "distill.losses",
    "precisions",
    "gates",
    "devices",
    "calibrate.compare",
)
"""Sections whose names have tests of their own in `make test`."""


@dataclass(frozen=True)
class Sweep:
    """The smallest recipe, run once; cases reuse its stages."""

    folder: Path
    places: dict[str, str]

    def check(self, case: Case) -> None:
        """Run one case.

        It ends with a verdict, and the recipe in its report plans the same stages; or it is refused, and a
        dry run refuses it in the same words.
        """
        recipe = written(self.folder, case.tree(self.places), "case.yaml")
        shutil.rmtree(self.folder / "case", ignore_errors=True)
        line = ("compress", recipe, "--store", self.folder / "store", "--out", self.folder / "case")
        line += ("--baseline", self.folder / "out")
        done = command(*line)
        if done.code in PASSED:
            report = json.loads((self.folder / "case" / "report.json").read_text())
            again = written(self.folder, report["recipe"], "again.yaml")
            planned = command("compress", again, *line[2:], "--dry-run", "--json")
            assert planned.code == 0, planned.err
            assert all(planned.stages.values()), planned.stages
            return
        assert not case.must_run, done.err
        planned = command(*line, "--dry-run")
        assert (planned.code, errors(planned.err)) == (done.code, errors(done.err))


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("error: ", "fix: "))]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    recipe, store, out = written(folder, BASE), folder / "store", folder / "out"
    done = command("compress", recipe, "--store", store, "--out", out)
    assert done.code in PASSED, done.err
    generator = np.random.default_rng(0)
    for number in range(120):
        path = folder / "images" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (36, 40, 3), np.uint8)).save(path)
    trained = TinyRun(recipe, store, out, done).stage_folder("teacher")
    places = {
        "folder": str(folder / "images"),
        "cifar100": os.environ.get("CALKD_CIFAR100", ""),
        "onnx": str(out / "models" / "teacher.fp32.onnx"),
        "weights": str(trained / "weights.safetensors"),
    }
    return Sweep(folder, places)


def is_valid(case: Case) -> bool:
    try:
        return bool(parse(case.tree(PLACES), where="case"))
    except RecipeError:
        return False


def of_sections() -> list[Case]:
    """The cases of options that are no names of their own, and must run."""
    return [
        case
        for case in CASES
        if case.must_run and not case.name.startswith(tuple(f"{one}=" for one in APART))
    ]


PACKS = packed(
    [case for case in of_sections() if not case.name.startswith("benchmark.profile=standard")], is_valid
)


@pytest.mark.parametrize("case", PACKS, ids=[str(number) for number in range(len(PACKS))])
def test_options_of_sections_run_whole_together(sweep, case):
    sweep.check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_option_runs_whole_or_is_refused_when_planned(sweep, case):
    if "=cifar100" in case.name and "CALKD_CIFAR100" not in os.environ:
        pytest.skip("CALKD_CIFAR100 names no folder of its parquet files")
    if (
        case.name.startswith("devices=")
        and case.name.partition("[")[0].removeprefix("devices=") != "onnxruntime"
    ):
        pytest.importorskip({"litert": "ai_edge_litert"}.get(*[case.name[8:].partition("[")[0]] * 2))
    sweep.check(case)


# --- nothing is left out -------------------------------------------------------------------------------


def keys_of(model: type[Section], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, annotation and default of every key of the recipe's own sections."""
    for name, field in model.model_fields.items():
        nested = [
            part for part in flat(field.annotation) if isinstance(part, type) and issubclass(part, Section)
        ]
        for section in nested:
            yield from keys_of(section, f"{prefix}{name}.")
        if not nested:
            yield f"{prefix}{name}", field.annotation, field.default


def flat(annotation: Any) -> list[Any]:
    """The parts of a union, tuple or Annotated; a Literal stays whole."""
    if typing.get_origin(annotation) in (None, typing.Literal):
        return [annotation]
    return [part for inner in typing.get_args(annotation) for part in flat(inner)]


def values_in(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything in a recipe; entries of a list share one path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from values_in(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list):
        yield path, str(tree)
        for item in tree:
            yield from values_in(item, path)
    else:
        yield path, tree


def test_every_key_and_every_listed_value_of_the_recipe_is_in_a_case():
    seen: dict[str, set[Any]] = defaultdict(set)
    for case in CASES:
        for path, value in values_in(case.tree(PLACES)):
            seen[path].add(value)
    for path, annotation, default in keys_of(Recipe):
        parts = flat(annotation)
        wanted = {
            one
            for part in parts
            if typing.get_origin(part) is typing.Literal
            for one in typing.get_args(part)
        }
        wanted |= {True, False} if bool in parts else set()
        wanted = {one for one in wanted if f"{path}={one}" not in NOT_HERE}
        assert wanted <= seen[path], path
        if path != "devices.options" and path not in NOT_HERE and not wanted:
            assert seen[path] - {default}, path


def test_every_name_and_every_setting_of_it_is_in_a_case():
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for case in CASES:
        tree = case.tree(PLACES)
        for section in KINDS:
            holder: Any = tree
            for key in section.split("."):
                holder = holder.get(key, {}) if isinstance(holder, dict) else {}
            for entry in holder if isinstance(holder, list) else [holder]:
                if name := entry.get(DISCRIMINATOR.get(section, "name")):
                    seen[section, name] |= {*entry, *entry.get("options", {})}
    for section, kinds in KINDS.items():
        for kind in kinds:
            for entry in listing.list_names(kind):
                name = entry["name"]
                if f"{section}={name}" in NOT_HERE:
                    continue
                assert (section, name) in seen, f"{section}: {name}"
                if section == "evaluate.unknown":
                    continue  # swept with those of data
                if section.startswith("teacher_training.") and section != "teacher_training.mixing":
                    continue  # set with those of distill
                left_out = {key for key in entry["settings"] if f"{kind}[{name}].{key}" in NOT_HERE}
                assert entry["settings"].keys() - left_out <= seen[section, name], f"{section}: {name}"


def test_every_kind_of_names_is_swept_but_those_that_no_recipe_chooses_from():
    swept = {kind for kinds in KINDS.values() for kind in kinds}
    # Corruptions are values of the schema; a device other than local is an address; the rest is output.
    assert listing.KINDS.keys() - swept == {"corruptions", "devices", "metrics", "recipes"}
    assert all(reason for reason in NOT_HERE.values())


def test_documentation_names_every_key_and_the_number_of_cases():
    text = DOC.read_text()
    assert f"{len(CASES)} recipes" in " ".join(text.split())
    words = set(re.findall(r"[A-Za-z0-9_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    keys = {part for path, _, _ in keys_of(Recipe) for part in path.split(".")}
    assert keys - words == set()
