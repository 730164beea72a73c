"""The public names of the package: which they are, what they are typed as, and that each works."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
import typing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import calkd_edge as ck

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [
    "benchmark", "calibrate", "check_store", "collect_store", "compress", "doctor", "evaluate", "gate",
    "lint", "list_names", "load_recipe", "plan", "quality", "report", "schema", "smoke_recipe", "verify",
]  # fmt: skip
RECORDS = [
    "Affine", "Benchmark", "DoctorReport", "Evaluation", "Lint", "Plan", "Quality", "Recipe", "Release",
    "Repair", "Report",
]  # fmt: skip
EXCEPTIONS = [
    "CalkdError", "DeviceError", "EnvironmentProblem", "GateFailed", "GateUndecided", "RecipeError",
    "StageFailed", "StoreError",
]  # fmt: skip
NAMES = sorted([*FUNCTIONS, *RECORDS, *EXCEPTIONS])


def test_public_names_are_these_and_none_is_a_module():
    assert ck.__all__ == NAMES
    assert dir(ck) == sorted([*NAMES, "__version__"])
    assert [name for name in NAMES if find_spec(f"calkd_edge.{name}")] == []
    with pytest.raises(AttributeError, match="no attribute 'smoke'"):
        ck.smoke  # noqa: B018


def in_a_fresh_process(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_of_the_package_imports_nothing_else():
    added = in_a_fresh_process(
        "import json, sys\n"
        "import __future__, importlib, os, typing\n"
        "before = set(sys.modules)\n"
        "import calkd_edge\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert added == ["calkd_edge"]


def test_name_stays_the_same_object_whatever_is_imported_between():
    changed = in_a_fresh_process(
        "import json, importlib\n"
        "import calkd_edge as ck\n"
        "first = {name: getattr(ck, name) for name in ck.__all__}\n"
        "for module in [*ck._MODULES.values(), 'calkd_edge.cli.app', 'calkd_edge.recipe.smoke']:\n"
        "    importlib.import_module(module)\n"
        "print(json.dumps([name for name in ck.__all__ if getattr(ck, name) is not first[name]]))"
    )
    assert changed == []


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_documented(name):
    first, *rest = (inspect.getdoc(getattr(ck, name)) or "").splitlines()
    assert re.fullmatch(r"[A-Z].*[.]", first)
    assert not rest or not rest[0]


def parts(annotation: object, seen: frozenset[str] = frozenset()) -> set[str]:
    """An annotation and everything inside its brackets."""
    if str(annotation) in seen:
        return set()
    inner = [parts(argument, seen | {str(annotation)}) for argument in typing.get_args(annotation)]
    return {str(annotation)}.union(*inner)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_returns_a_type_without_any(name):
    returned = typing.get_type_hints(getattr(ck, name))["return"]
    assert returned is not type(None)
    assert not {"typing.Any", str(object)} & parts(returned)


def test_mypy_sees_the_real_types(tmp_path):
    user = tmp_path / "user.py"
    lines = ["import calkd_edge as ck", *(f"reveal_type(ck.{name})" for name in NAMES), "ck.no_such_name"]
    user.write_text("\n".join(lines) + "\n")
    line = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(user)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    notes = re.findall(r'user\.py:(\d+): note: Revealed type is "(.*)"', done.stdout)
    revealed = {lines[int(number) - 1][15:-1]: text for number, text in notes}
    assert sorted(revealed) == NAMES
    for name, text in revealed.items():
        assert text.startswith("def "), f"{name}: {text}"
        assert "Any" not in text.rpartition(" -> ")[2], f"{name}: {text}"
    assert re.findall(r"error: (.*)\[", done.stdout) == ['Module has no attribute "no_such_name"  ']


def test_recipes_are_loaded_listed_and_described():
    recipe = ck.load_recipe("quickstart", ["seed=3"])
    assert isinstance(recipe, ck.Recipe)
    assert recipe.seed == 3
    assert ck.smoke_recipe(recipe).name == f"{recipe.name}-smoke"
    assert recipe.name in {entry["name"] for entry in ck.list_names("recipes")}
    assert set(ck.schema("recipe")["properties"]) == set(ck.Recipe.model_fields)
    with pytest.raises(ck.RecipeError) as wrong:
        ck.load_recipe("quickstrt")
    assert isinstance(wrong.value, ck.CalkdError)


def test_recipe_is_planned_run_checked_and_verified(tiny, tmp_path):
    planned = ck.plan(tiny.recipe, store=tiny.store)
    assert isinstance(planned, ck.Plan)
    assert [stage.name for stage in planned.stages] == [line["stage"] for line in tiny.report["plan"]]
    release = ck.compress(tiny.recipe, store=tiny.store, out=tmp_path / "out")
    assert isinstance(release, ck.Release)
    assert isinstance(release.report, ck.Report)
    assert release.report.verdict == tiny.report["verdict"]
    assert release.bundle is not None
    assert ck.verify(release.bundle) == []
    assert ck.check_store(tiny.store).problems == ()
    store = shutil.copytree(tiny.store, tmp_path / "store")
    shutil.copytree(tiny.stage_folder("prepare"), store / "objects/00" / ("0" * 64))
    collected = ck.collect_store([tiny.recipe], store=store)
    assert collected.freed_bytes > 0
    assert not (store / "objects/00" / ("0" * 64)).exists()
    assert len({stage.fingerprint for stage in planned.stages}) <= ck.check_store(store).folders


def test_file_is_linted_scored_and_timed(tiny, tmp_path):
    model = tiny.out / "models" / "student.fp32.onnx"
    assert isinstance(ck.lint(model), ck.Lint)
    evaluation = ck.evaluate(model, "synthetic", images=60)
    assert isinstance(evaluation, ck.Evaluation)
    assert evaluation.images == 60
    assert "synthetic" in evaluation.data
    benchmark = ck.benchmark(model, device="local", out=tmp_path)
    assert isinstance(benchmark, ck.Benchmark)
    assert [file.precision for file in benchmark.files] == ["fp32"]


def test_predictions_are_scored_and_calibrated(tmp_path):
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 400)
    logits = (generator.normal(size=(400, 4)) + 2 * np.eye(4)[labels]).astype(np.float32)
    quality = ck.quality(logits, labels, seed=1)
    assert isinstance(quality, ck.Quality)
    np.savez(tmp_path / "predictions.npz", logits=3 * logits, labels=labels)
    repair = ck.calibrate(predictions=tmp_path / "predictions.npz")
    assert isinstance(repair, ck.Repair)
    assert repair.calibration.temperature > 1


def test_this_machine_is_examined():
    report = ck.doctor()
    assert isinstance(report, ck.DoctorReport)
    assert report.usable
