"""What earlier versions wrote is opened by this one: recipes, stores, releases, benchmarks.

A folder beside this file for each released version; make.py wrote it and nobody changes it. A stage whose
VERSION was raised runs again on an old store, as it should: name it in CHANGED with the reason, and its
line in CHANGELOG.md. Nothing here is made again for that.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixed_world import fix_world
from tiny_run import command

from calkd_edge.agent import probe
from calkd_edge.engine.manifest import read_manifest
from calkd_edge.engine.stage import Stage
from calkd_edge.pipeline import preparation as pipeline
from calkd_edge.recipe.schema import parse
from calkd_edge.records import Report
from calkd_edge.release.report.page import render_html

VERSIONS = sorted(
    path.name for path in Path(__file__).parent.iterdir() if (path / "release.tar.xz").is_file()
)
CHANGED: dict[str, dict[str, str]] = {
    "0.1.0": {
        "quantize": "hard-sigmoids of students are written as clips",
        "teacher": "batch normalisation is measured over images as they were learnt too",
        "distill": "likewise",
        "export": "it holds the fingerprint of the training",
        "benchmark": "quick times three processes",
    }
}
"""Version -> {name of a stage function's module: why its old folders are not used any more}."""


@dataclass(frozen=True)
class Earlier:
    """An unpacked release of an earlier version."""

    version: str
    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"


@pytest.fixture(scope="module", params=VERSIONS)
def earlier(request, tmp_path_factory) -> Earlier:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(Path(__file__).with_name(request.param) / "release.tar.xz") as archive:
        for entry in archive:
            assert entry.isreg()
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(entry).read())
    return Earlier(request.param, folder)


def changes(stages: Iterable[Stage], store: Path) -> dict[str, str]:
    """What differs from the stages of an earlier store: module of the stage function -> in which way."""
    folders = [path.parent for path in (store / "objects").glob("*/*/manifest.json")]
    before = {facts["stage"]: facts for facts in map(read_manifest, folders)}
    found = {}
    for stage in stages:
        module = stage.path.partition(":")[0].rpartition(".")[2]
        then = before.get(stage.name)
        if then is None:
            found[module] = f"{stage.name} did not exist"
        elif then["version"] != stage.version:
            found[module] = f"VERSION of {stage.name} was {then['version']} and is {stage.version}"
        elif then["params"] != json.loads(json.dumps(stage.params)):
            found[module] = f"parameters of {stage.name} were {then['params']} and are {stage.params}"
        elif (then["function"], set(then["inputs"])) != (stage.path, set(stage.inputs)):
            found[module] = f"{stage.name} was {then['function']} of {', '.join(then['inputs'])}"
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recipe_means_what_it_meant(version):
    recipes = json.loads(Path(__file__).with_name(version).joinpath("recipes.json").read_text())
    for name, tree in recipes.items():
        again = parse(tree, where=f"{name} of {version}").model_dump(mode="json")
        assert of_its_keys(again, tree) == tree, name


def of_its_keys(new: Any, old: Any) -> Any:
    """A newer tree without the keys that an older one lacks, at any depth."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: of_its_keys(new[key], old[key]) for key in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [of_its_keys(*pair) for pair in zip(new, old, strict=True)]
    return new


def test_stages_are_taken_from_the_store_unless_named_as_changed(earlier, monkeypatch, tmp_path):
    fix_world(monkeypatch)
    monkeypatch.chdir(earlier.folder)
    plan, _ = pipeline.make_plan(pipeline.prepare_run(earlier.recipe))
    differing = changes(plan.stages, earlier.folder / "store")
    unnamed = {module: how for module, how in differing.items() if module not in CHANGED[earlier.version]}
    assert not unnamed, f"runs again on a store of {earlier.version}: name it in CHANGED if that is meant"
    done = command("compress", "--recipe", earlier.recipe, "--store", "store", "--out", tmp_path)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "report.json").read_text())
    again = {line["stage"] for line in report["plan"] if not line["reused"]}
    assert bool(again) == bool(differing)
    assert report["verdict"] == "passed"


def test_the_store_and_the_release_are_whole(earlier):
    for line in (
        ("store", "check", "--store", earlier.folder / "store"),
        ("verify", earlier.folder / "run" / "bundle.zip", "--run"),
        ("verify", earlier.folder / "run"),
    ):
        done = command(*line)
        assert done.code == 0, done.err + done.out


def test_the_report_is_read_and_shown(earlier):
    report = Report.model_validate_json((earlier.folder / "run" / "report.json").read_text())
    assert report.verdict == "passed"
    assert re.search(r"<h1>.*tiny", render_html(report), re.S)


def test_a_benchmark_of_it_is_compared_with_its_own(earlier, tmp_path):
    """The old facts become those of this machine: a baseline of another processor is refused on purpose."""
    here = probe.run({})
    baseline = earlier.folder / "benchmark" / "benchmark.json"
    old = json.loads(baseline.read_text())
    baseline.write_text(
        json.dumps({**old, "facts": here, "runtime_version": here["runtimes"][old["runtime"]]})
    )
    bundle = earlier.folder / "run" / "bundle.zip"
    done = command(
        *("benchmark", bundle, "--precision", "int8", "--baseline", baseline, "--out", tmp_path, "--json")
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["files"][0]["precision"] == "int8"
