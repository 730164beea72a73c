"""Wrong recipes, each through the command line: exit 2, file, dotted path, and what to do instead."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_run import RECIPE, Done, command, recipe_with, written

from calkd_edge.errors import RecipeError
from calkd_edge.recipe import source as recipe_text
from calkd_edge.recipe.schema import load_recipe, parse
from calkd_edge.recipe.smoke import smoke_recipe

DISTILL, TRAINING, DATA = RECIPE["distill"], RECIPE["teacher_training"], RECIPE["data"]


def losses(*terms):
    return {"distill": {**DISTILL, "losses": list(terms)}}


def scheduled(**schedule):
    return {"distill": {**DISTILL, "schedule": schedule}}


def gate(**content):
    return {"gates": [content]}


@pytest.mark.parametrize(
    ("epochs", "words"),
    [("20.0", "Write a whole number"), ("0", "Use 1 or more"), ("200000", "Use 100000 or less")],
)
def test_a_number_that_is_refused_says_which_would_do(epochs, words):
    tree = recipe_with(distill={**DISTILL, "epochs": yaml.safe_load(epochs)})
    with pytest.raises(RecipeError) as refused:
        parse(tree, where="recipe.yaml")
    assert words in refused.value.remedy


# what is changed -> (dotted path in the message, what the message or the remedy must say)
WRONG = {
    "unknown top key": ({"studnet": {"name": "resnet8"}}, "studnet", "Did you mean 'student'?"),
    "misspelt top key instead of the right one": (
        {"student": None, "studnet": {"name": "resnet8"}},
        "studnet",
        "Did you mean 'student'?",
    ),
    "unknown nested key": ({"distill": {**DISTILL, "epoch": 3}}, "distill.epoch", "Did you mean 'epochs'?"),
    "unknown deeply nested key": (
        {"distill": {**DISTILL, "soft_labels": {"view": 1}}},
        "distill.soft_labels.view",
        "Did you mean 'views'?",
    ),
    "unknown key of the data set": (
        {"data": {**DATA, "image_sice": 32}},
        "data.image_sice",
        "Did you mean 'image_size'?",
    ),
    "misspelt key of the data section": (
        {"data": {**DATA, "rooot": "x"}},
        "data.rooot",
        "Did you mean 'root'?",
    ),
    "a program": (
        {"devices": [{"name": "local", "python": "/tmp/evil.sh"}]},
        "devices[0]",
        "local:\n    python: /tmp/evil.sh",
    ),
    "an address": (
        {"devices": [{"name": "local"}, {"name": "ssh://me@10.0.0.5:22"}]},
        "devices[1]",
        "board:\n    host: me@10.0.0.5:22",
    ),
    "a module of the runtime": (
        {"devices": [{"name": "local", "runtime": "tensorrt", "options": {"module": "antigravity"}}]},
        "devices[0].options",
        "Use tensorrt or tensorrt_rtx",
    ),
    "a file on the device": (
        {"devices": [{"name": "local", "runtime": "tensorrt", "options": {"timing_cache": "/etc/profile"}}]},
        "devices[0].options",
        "Write a name such as orin.cache",
    ),
    "missing section": ({"distill": None}, "distill", "this key is missing"),
    "wrong type": ({"distill": {**DISTILL, "epochs": "many"}}, "distill.epochs", "'many'"),
    "a section that is a number": ({"distill": 3}, "distill", "(got 3)"),
    "out of range": ({"seed": -1}, "seed", "greater than or equal to 0"),
    "nested out of range": (
        {"teacher_training": {**TRAINING, "optimizer": {"lr": 0}}},
        "teacher_training.optimizer.lr",
        "greater than 0",
    ),
    "setting out of range": ({"student": {"name": "resnet8", "width": 99}}, "student.width", "(got 99)"),
    "misspelt model": ({"student": {"name": "mobilnet_v2"}}, "student", "Did you mean 'mobilenet_v2'?"),
    "unknown model": ({"teacher": {"name": "zzz"}}, "teacher", "calkd-edge list models"),
    "misspelt data set": ({"data": {**DATA, "name": "cifar1000"}}, "data", "Did you mean 'cifar100'?"),
    "misspelt loss": (
        losses({"name": "cross_entropi"}),
        "distill.losses[0]",
        "Did you mean 'cross_entropy'?",
    ),
    "unknown loss setting": (
        losses({"name": "cross_entropy"}, {"name": "kd", "temprature": 4}),
        "distill.losses[1].temprature",
        "Did you mean 'temperature'?",
    ),
    "loss of weight 0": (losses({"name": "kd", "weight": 0}), "distill.losses[0].weight", "greater than 0"),
    "no loss": (losses(), "distill.losses", "at least 1"),
    "misspelt calibrator": ({"calibrator": {"name": "temprature"}}, "calibrator", "'temperature'"),
    "calibrator that cannot ship": (
        {"calibrator": {"name": "isotonic"}},
        "calibrator.name",
        "compare: [{name: isotonic}]",
    ),
    "misspelt map to compare": (
        {"calibrate": {"compare": [{"name": "vector"}, {"name": "isotonik"}]}},
        "calibrate.compare[1]",
        "isotonik",
    ),
    "threshold that is no share": (
        {"evaluate": {"thresholds": [0.5, 80]}},
        "evaluate.thresholds[1]",
        "less than 1",
    ),
    "unknown corruption": ({"evaluate": {"corruptions": ["fog"]}}, "evaluate.corruptions[0]", "'brightness'"),
    "smoothed and focal": (
        {"teacher_training": {**TRAINING, "label_smoothing": 0.1, "focal_gamma": 2.0}},
        "teacher_training",
        "give one of them",
    ),
    "misspelt precision": (
        {"precisions": [{"name": "fp32"}, {"name": "int88"}]},
        "precisions[1]",
        "Did you mean 'int8'?",
    ),
    "steps without at_epochs": (scheduled(name="steps"), "distill.schedule", "at_epochs"),
    "at_epochs without steps": (scheduled(at_epochs=[1]), "distill.schedule", "name: steps"),
    "at_epochs beyond the epochs": (
        scheduled(name="steps", at_epochs=[1, 9]),
        "distill",
        "there are only 2 epochs",
    ),
    "at_epochs that fall": (scheduled(name="steps", at_epochs=[2, 1]), "distill.schedule", "must increase"),
    "warm-up of all epochs": (scheduled(warmup_epochs=2), "distill", "warmup_epochs must be below"),
    "momentum for adamw": (
        {"distill": {**DISTILL, "optimizer": {"name": "adamw", "lr": 0.1, "momentum": 0.9}}},
        "distill.optimizer",
        "belong to sgd",
    ),
    "missing version": ({"version": None}, "version", "Add the line `version: 1`"),
    "newer version": ({"version": 2}, "version", "pip install --upgrade calkd-edge"),
    "version that is no number": ({"version": "one"}, "version", "whole number"),
    "gate with two limits": (gate(metric="top1", min=0.5, max=0.9), "gates[0]", "exactly one of"),
    "gate without a limit": (gate(metric="top1"), "gates[0]", "exactly one of"),
    "gate on an unknown metric": (gate(metric="top11", min=0.5), "gates[0].metric", "Did you mean 'top1'?"),
    "gate in the wrong direction": (gate(metric="ece", min=0.5), "gates[0].min", "Give max"),
    "gate without its threshold": (
        gate(metric="coverage_shift", within=0.01),
        "gates[0].threshold",
        "Add threshold",
    ),
    "gate on a precision not made": (
        gate(metric="top1", min=0.5, precision="fp16"),
        "gates[0].precision",
        "fp32, int8",
    ),
    "gate on an absent device": (
        gate(metric="top1", min=0.5, device="jetson"),
        "gates[0].device",
        "--device jetson",
    ),
    "teacher weights without trained_on": (
        {"teacher": {"name": "resnet8", "weights": "w.safetensors"}, "teacher_training": None},
        "teacher",
        "trained_on",
    ),
    "teacher weights that are not there": (
        {
            "teacher": {"name": "resnet8", "weights": "w.safetensors", "trained_on": "train"},
            "teacher_training": None,
        },
        "teacher.weights",
        "there is no file",
    ),
    "teacher that is trained and given": (
        {"teacher": {"name": "resnet8", "weights": "w.safetensors", "trained_on": "train"}},
        "",
        "exactly one",
    ),
    "student with weights": (
        {"student": {"name": "resnet8", "weights": "w", "trained_on": "train"}},
        "",
        "student.weights",
    ),
    "calibrate.on an absent device": ({"calibrate": {"on": "board"}}, "calibrate.on", "(local)"),
    "two equal devices": ({"devices": [{"name": "local"}, {"name": "local"}]}, "", "local:onnxruntime"),
    "unknown device": (
        {"devices": [{"name": "local"}, {"name": "locl"}]},
        "devices[1].name",
        "Did you mean 'local'?",
    ),
    "unknown runtime": (
        {"devices": [{"name": "local", "runtime": "onnxruntim"}]},
        "devices[0].runtime",
        "Did you mean 'onnxruntime'?",
    ),
    "precisions without fp32": ({"precisions": [{"name": "int8"}]}, "", "must contain fp32"),
    "a precision twice": ({"precisions": [{"name": "fp32"}, {"name": "fp32"}]}, "", "has an entry twice"),
    "float16 that is quantized before ONNX could": (
        {"export": {"opset": 18}, "precisions": [{"name": "fp32"}, {"name": "int8_fp16"}]},
        "",
        "from opset 19 on",
    ),
    "a name that is no file name": ({"name": "../x"}, "name", "'../x'"),
}


def refused(done: Done) -> str:
    """What stands on the screen, once it is sure that it is a refusal and no accident."""
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "fix: " in done.err
    assert done.out == ""
    return done.err


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipe_is_refused_with_its_place_and_its_mend(case, tmp_path):
    changes, path, mend = WRONG[case]
    file = written(tmp_path, recipe_with(**changes))
    said = refused(command("compress", "--recipe", file, "--store", tmp_path / "s", "--out", tmp_path / "o"))
    complaint = next(line for line in said.splitlines() if line.startswith("error"))
    assert f"{file}: {path}" in complaint
    assert mend in said
    assert not list((tmp_path / "s").glob("objects/*/*"))


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("version: 1\nseed: 1\nseed: 2\n", "line 3, column 1: the key 'seed' occurs twice"),
        ("version: 1\ndata: {name: [\n", "Correct the YAML there"),
        ("version: 1\n\tname: x\n", "line 2, column 1"),
        ("- just\n- a list\n", "a recipe is a mapping of sections, but this is a list"),
        ("", "this is a NoneType"),
    ],
    ids=["key twice", "broken", "tab", "list", "empty"],
)
def test_broken_text_is_refused_with_its_line(text, mend, tmp_path):
    file = written(tmp_path, text)
    said = refused(command("compress", "--recipe", file, "--out", tmp_path / "o", "--dry-run"))
    assert str(file) in said
    assert mend in said


def test_file_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    assert "is not a text file" in refused(command("compress", "--recipe", file, "--dry-run"))


def test_missing_recipe_is_answered_with_the_nearest_name():
    said = refused(command("compress", "--recipe", "quickstrat", "--dry-run"))
    assert "Did you mean 'quickstart'?" in said
    assert "calkd-edge list recipes" in said


@pytest.mark.parametrize(
    ("override", "mend"),
    [
        ("distil.epochs=1", "Did you mean 'distill'?"),
        ("distill.epoch=1", "Did you mean 'epochs'?"),
        ("gates[9].max=1", "there is no '9' in a list of 2"),
        ("teacher.name.deep=1", "there is no 'deep' in 'resnet8'"),
        ("distill.epochs", "not an assignment"),
        ("distill.epochs=[", "the value is not YAML"),
        ("distill.epochs=", "distill.epochs"),
    ],
)
def test_override_that_cannot_be_meant_is_refused(override, mend, tmp_path):
    file = written(tmp_path, RECIPE)
    assert mend in refused(command("compress", "--recipe", file, "--dry-run", "--set", override))


def test_override_reaches_sections_lists_and_new_keys(tmp_path):
    file = written(tmp_path, RECIPE)
    overrides = ["distill.epochs=7", "gates[0].max=5", "precisions[1].images=8", "evaluate.images=9"]
    recipe = load_recipe(file, overrides)
    assert recipe.distill.epochs == 7
    assert recipe.gates[0].max == 5
    assert recipe.precisions[1].settings == {"images": 8}
    assert recipe.evaluate.images == 9


def test_relative_paths_are_of_the_file_in_the_file_and_of_the_shell_in_overrides(tmp_path, monkeypatch):
    recipes, shell = tmp_path / "recipes", tmp_path / "shell"
    recipes.mkdir()
    shell.mkdir()
    file = written(recipes, recipe_with(data={**DATA, "root": "images"}))
    monkeypatch.chdir(shell)
    assert load_recipe(file).data.root == str(recipes / "images")
    assert load_recipe(file, ["data.root=images"]).data.root == str(shell / "images")
    assert load_recipe(file, ["data.root=/images"]).data.root == "/images"
    assert load_recipe(file, ["data.root=~/images"]).data.root == str(Path.home() / "images")


def test_recipe_written_out_whole_is_read_back_equal(tmp_path):
    recipe = load_recipe(written(tmp_path, RECIPE))
    again = parse(recipe.model_dump(mode="json"), where="again")
    assert again == recipe


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """Three classes of 500 small images each."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir()
        for number in range(500):
            pixels = draw.integers(0, 255, (9, 11, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png", compress_level=0)
    return root


@pytest.mark.parametrize("name", sorted(recipe_text.packaged()))
@pytest.mark.parametrize("small", [False, True], ids=["whole", "smoke"])
def test_packaged_recipe_is_planned(name, small, image_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    assert recipe.name == name
    own = recipe.data.name == "image_folder"
    extra = ["--set", f"data.root={image_folder}"] if own else []
    if name == "fine_tune":  # no published weights are here
        extra += ["--set", "teacher.pretrained=auto", "--set", "student.pretrained=auto"]
    done = command(
        "compress", "--recipe", name, "--dry-run", "--json", *extra, *(["--smoke"] if small else [])
    )
    assert done.code == 0, done.err
    assert {"prepare", "teacher", "distill", "export-student"} <= set(done.stages)
    assert not any(done.stages.values())
    assert list(tmp_path.iterdir()) == [], "a dry run writes nothing"


@pytest.mark.parametrize("name", sorted(recipe_text.packaged()))
def test_packaged_recipe_begins_with_what_it_is_for(name):
    text = recipe_text.packaged()[name].read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text)["version"] == 1


def test_thresholds_are_numbers_or_wanted_precisions():
    recipe = parse(recipe_with(evaluate={"thresholds": [0.8, {"precision": 0.99}, 0.5]}), where="a recipe")
    assert (recipe.thresholds, recipe.precision_targets) == ((0.5, 0.8), (0.99,))


def test_smoke_variant_keeps_the_plan_and_shrinks_the_numbers():
    whole = load_recipe("quickstart")
    small = smoke_recipe(whole)
    assert small.name == "quickstart-smoke"
    assert small.distill.epochs == small.teacher_training.epochs == 1
    assert (small.student, small.distill.losses, small.gates) == (
        whole.student,
        whole.distill.losses,
        whole.gates,
    )
    assert [p.name for p in small.precisions] == [p.name for p in whole.precisions]
    parse(small.model_dump(mode="json"), where="smoke")


def test_read_refuses_a_folder(tmp_path):
    with pytest.raises(RecipeError):
        recipe_text.find(tmp_path)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
)
def test_a_recipe_that_is_no_file_is_called_what_it_is(make, what, tmp_path):
    make(tmp_path / "given")
    said = refused(command("compress", "--recipe", tmp_path / "given", "--dry-run"))
    assert f"is {what}" in said
    assert "Write the recipe to a file" in said


def test_a_folder_of_the_name_of_a_packaged_recipe_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe_text.find("quickstart").name == "quickstart.yaml"
