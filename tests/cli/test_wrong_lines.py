"""Command lines that cannot work: the exit code, an error, and a fix; nothing is created."""

from __future__ import annotations

import re

import pytest
from tiny_run import command, recipe_with, written

QUICKSTART = ["compress", "quickstart", "--dry-run"]
LONG = "n" * 300


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every line runs in an empty folder, which must stay empty."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("line", "message", "fix"),
    [
        (["list", "modles"], "no list of 'modles'", "Did you mean 'models'?"),
        (["schema", "repot"], "no schema of 'repot'", "Did you mean 'report'? Valid: recipe, report"),
        (["compress"], "no recipe is named", "calkd-edge compress quickstart (or --recipe quickstart)"),
        (["compress", "a.yaml", "--recipe", "b.yaml"], "two recipes are named", "compress a.yaml"),
        (["compress", "quickstrt"], "quickstrt", "Did you mean 'quickstart'?"),
        (["compres"], "No such command 'compres'. Did you mean 'compress'?", "See: calkd-edge --help"),
        (["store", "chek"], "Did you mean 'check'?", "See: calkd-edge store --help"),
        (["benchmark", "--profil", "x"], "--profile", "See: calkd-edge benchmark --help"),
        (["store", "gc"], "--keep", "See: calkd-edge store gc --help"),
        (["benchmark", "--profile", "standart"], "--profile standart", "mean 'standard'? Valid: quick"),
        (["lint", "m.onnx", "--target", "tensort"], "--target tensort", "Did you mean 'tensorrt'?"),
        (["evaluate", "m.onnx", "--data", "d", "--layout", "ncwh"], "--layout ncwh", "Valid: nchw, nhwc."),
        (["calibrate", "--model", "m.onnx", "--scores", "logit"], "--scores logit", "mean 'logits'?"),
        (["lint", "."], "is a folder", "Name an ONNX file."),
        (["lint", LONG], "MODEL: 'nnn", "Correct the path."),
        (["verify", LONG], "File name too long", "Correct the path."),
        (["compress", "--recipe", LONG], "--recipe: 'nnn", "Correct the path."),
        (["compress", "--recipe", "~nosuchuser/r.yaml"], "no such user", "Correct the path."),
        (["store", "check", "--store", LONG], "--store: 'nnn", "Correct the path."),
        (["evaluate", "m.onnx", "--data", "d", "--classes", LONG], "--classes: 'nnn", "Correct the path."),
        ([*QUICKSTART, "--set", "gates[²].max=1"], "there is no '²'", "Check the dotted path."),
        ([*QUICKSTART, "--set", f"gates[{'9' * 5000}].max=1"], "there is no '999", "Check the dotted path."),
        ([*QUICKSTART, "--set", "seed=017"], "'017' may mean 17", "Write 17 or 0o17"),
        (["verify", "missing.zip"], "missing.zip: there is no such file", "or a bundle"),
        (["doctor", "--device", "local:onnxruntim"], "'onnxruntim'", "Did you mean 'onnxruntime'?"),
        (["benchmark", "m.onnx", "--device", "local:opnvino"], "'opnvino'", "Did you mean 'openvino'?"),
        ([*QUICKSTART, "--fresh", "distil"], "--fresh distil", "Did you mean 'distill'?"),
        ([*QUICKSTART, "--set", "calibrate.compare=[{name: isotnic}]"], "'isotnic'", "mean 'isotonic'?"),
        (["compress", "--store"], "--store", "See: calkd-edge compress --help"),
        (["compress", "/bin/true", "--dry-run"], "this is not a text file", "calkd-edge list recipes"),
        (["verify", "."], "a folder, not a bundle", "or a bundle"),
        (["benchmark", "m.onnx", "--rate", "0"], "--rate 0", "above 0 and up to"),
        ([*QUICKSTART, "--set", "calibrator.ridge=1"], "unknown key 'ridge'", "Valid keys: name."),
        ([*QUICKSTART, "--out", __file__], f"--out {__file__}: {__file__} is a file", "--out DIR"),
        ([*QUICKSTART, "--out", f"{__file__}/x/y"], f"{__file__} is a file", "--out DIR"),
        ([*QUICKSTART, "--store", __file__], f"{__file__} is a file", "--store DIR"),
        (["benchmark", "m.onnx", "--out", __file__], f"{__file__} is a file", "--out DIR"),
        ([*QUICKSTART, "--accelerator", "cud"], "--accelerator cud", "mean 'cuda'? Valid: auto, cpu, cuda"),
        ([*QUICKSTART, "--processes", "0"], "--processes", "See: calkd-edge compress --help"),
        ([*QUICKSTART, "--plugin", ""], "no module is named", "--plugin MODULE"),
        ([*QUICKSTART, "--plugin", "no_such_module"], "no_such_module", "PYTHONPATH"),
        ([*QUICKSTART, "--device", "jetsn"], "devices[1].name", "Did you mean 'jetson'?"),
        ([*QUICKSTART, "--skip-device", "locl"], "locl", "mean 'local'"),
        ([*QUICKSTART, "--skip-device", "local"], "calibrate.on", "--set calibrate.on"),
        ([*QUICKSTART, "--set", "gates=[{metric: top1_dorp, max: 1}]"], "top1_dorp", "mean 'top1_drop'?"),
        (["compress", "own_images", "--dry-run"], "data.root", ""),
        (["store", "check"], "the store .calkd does not exist", "--store DIR"),
        (["store", "check", "--store", "sotre"], "the store sotre does not exist", "--store DIR"),
        (["store", "gc", "--keep", "quickstart", "--store", "sotre"], "does not exist", "--store DIR"),
        (["benchmark", "m.onnx", "--store", "sotre"], "the store sotre does not exist", "--store DIR"),
    ],
)
def test_wrong_line_exits_2_with_an_error_and_a_fix(line, message, fix):
    done = command(*line)
    assert done.code == 2
    assert done.out == ""
    _, error, remedy = re.split("^error: |^fix: ", done.err, flags=re.MULTILINE)
    assert message in error
    assert fix in remedy


def test_plan_names_a_store_that_does_not_exist_and_creates_none():
    done = command(*QUICKSTART, "--store", "sotre")
    assert done.code == 0, done.err
    assert "The store sotre does not exist yet; a run creates it." in done.err


def test_folder_that_is_no_store_is_left_alone(tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    done = command("store", "gc", "--keep", "quickstart", "--store", other)
    assert done.code == 2
    assert "is not a store" in done.err
    assert not list(other.iterdir())


@pytest.mark.parametrize("changes", [{"data": 5}, {"teacher": ["resnet8"]}, {"teacher_training": None}])
def test_error_in_a_recipe_does_not_print_the_recipe(changes, tmp_path):
    path = written(tmp_path, recipe_with(**changes))
    done = command("compress", path, "--dry-run")
    assert done.code == 2
    assert "'student'" not in done.err
    assert len(done.err) < 400
