"""Weights from outside in whole runs: taken as they are, trained on behind a new head, and refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import RECIPE, TinyRun, command, recipe_with, written

from calkd_edge.models import MODELS


def stage_folder(store: Path, name: str) -> Path:
    for manifest in store.glob("objects/*/*/manifest.json"):
        if json.loads(manifest.read_text())["stage"] == name:
            return manifest.parent
    raise AssertionError(f"no stage {name} in {store}")


def run(folder, *more, store=None, **changes):
    """The shortest run that trains a student: nothing is quantized or drawn otherwise."""
    short = {"precisions": [{"name": "fp32"}], "evaluate": {"corruptions": []}}
    short["gates"] = [{"metric": "top1", "min": 0.01}]
    recipe = written(folder, recipe_with(**{**short, **changes}))
    return command(
        "compress", "--recipe", recipe, "--store", store or folder / "store", "--out", folder / "out", *more
    )


@pytest.fixture(scope="module")
def taught(tiny, tmp_path_factory):
    """The tiny run's teacher as a checkpoint file of another project."""
    folder = tmp_path_factory.mktemp("taught")
    state = load_file(tiny.stage_folder("teacher") / "weights.safetensors")
    wrapped = {"module." + name: tensor for name, tensor in state.items()}
    torch.save({"epoch": 2, "model": wrapped, "best_acc": 50.0}, folder / "teacher.pth")
    return folder / "teacher.pth"


def other_net(folder, classes, name="body.pth"):
    torch.manual_seed(5)
    net = MODELS.load("resnet8")(classes, (3, 32, 32), width=0.5)
    torch.save(net.state_dict(), folder / name)
    return folder / name, net.state_dict()


def test_a_checkpoint_of_another_project_is_the_same_teacher(tiny, tmp_path, taught):
    given = {**RECIPE["teacher"], "weights": str(taught), "trained_on": "train"}
    done = run(tmp_path, teacher=given, teacher_training=None)
    assert done.code == 0, done.err
    own, foreign = (
        json.loads((out / "report.json").read_text())["measurements"][0]["quality"]
        for out in (tiny.out, tmp_path / "out")
    )
    assert foreign["top1"]["value"] == own["top1"]["value"]
    assert foreign["nll"]["value"] == pytest.approx(own["nll"]["value"], rel=1e-6)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_pretrained_body_stays_while_it_is_frozen_and_the_head_is_new(tiny, tmp_path, role):
    path, before = other_net(tmp_path, classes=7)
    given = {**RECIPE[role], "pretrained": str(path), "trained_on": "other"}
    stage = {"teacher": "teacher", "student": "distill"}[role]
    weights = {}
    for frozen in (2, 1):
        folder = tmp_path / str(frozen)
        folder.mkdir()
        done = run(folder, store=tiny.store, **{role: {**given, "freeze_epochs": frozen}})
        assert done.code in (0, 4), done.err  # a student of a frozen body may have learnt nothing
        published = TinyRun(tiny.recipe, tiny.store, folder / "out", done).stage_folder(stage)
        weights[frozen] = load_file(published / "weights.safetensors")
        described = json.loads((published / "model.json").read_text())
        assert described["trained_on"] == "train"
    body = [name for name in before if not name.startswith("fc.")]
    assert all(torch.equal(weights[2][name], before[name]) for name in body)
    assert not torch.equal(weights[1]["layer1.0.conv1.weight"], before["layer1.0.conv1.weight"])
    assert weights[2]["fc.weight"].shape == (10, before["fc.weight"].shape[1])


def test_the_normalisation_is_the_weights_own(tiny, tmp_path, taught):
    given = {**RECIPE["teacher"], "weights": str(taught), "trained_on": "train"}
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    done = run(tmp_path, teacher={**given, **own}, teacher_training=None)
    assert done.code in (0, 4), done.err  # with a normalisation that is not its own it may know nothing
    described = json.loads((stage_folder(tmp_path / "store", "teacher") / "model.json").read_text())
    assert (described["mean"], described["std"]) == (own["mean"], own["std"])


@pytest.mark.parametrize("content", ["not json", "[" * 100_000, '{"modelTopology": {}}'])
def test_a_model_json_of_another_tool_says_nothing(tiny, tmp_path, taught, content):
    shutil.copy(taught, tmp_path / "teacher.pth")
    (tmp_path / "model.json").write_text(content)
    given = {**RECIPE["teacher"], "weights": str(tmp_path / "teacher.pth"), "trained_on": "train"}
    recipe = written(tmp_path, recipe_with(teacher=given, teacher_training=None))
    done = command("compress", "--recipe", recipe, "--store", tiny.store, "--out", tmp_path / "out")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("key", "std"), [("weights", [0.2, -0.2, 0.2]), ("weights", [math.nan] * 3), ("pretrained", [1e-300] * 3)]
)
def test_a_model_json_with_an_impossible_normalisation_is_refused_when_planned(tmp_path, taught, key, std):
    shutil.copy(taught, tmp_path / "teacher.pth")
    facts = {"schema_version": 1, "name": "resnet8", "settings": {}, "classes": ["a"], "trained_on": "train"}
    facts |= {"image_shape": [3, 32, 32], "mean": [0.5] * 3, "std": std}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    given = {**RECIPE["teacher"], key: str(tmp_path / "teacher.pth"), "trained_on": "train"}
    training = {"teacher_training": None} if key == "weights" else {}
    recipe = written(tmp_path, recipe_with(teacher=given, **training))
    done = command("compress", recipe, "--store", tmp_path / "s", "--out", tmp_path / "out", "--dry-run")
    assert done.code == 2, done.err
    assert "model.json: std[" in "".join(done.err.split()).replace("model.json:std[", "model.json: std[")


def test_a_weights_file_from_which_nothing_can_be_read_is_refused(tmp_path):
    given = {**RECIPE["teacher"], "weights": "/proc/self/mem", "trained_on": "train"}
    recipe = written(tmp_path, recipe_with(teacher=given, teacher_training=None))
    done = command("compress", recipe, "--store", tmp_path / "s", "--out", tmp_path / "out", "--dry-run")
    assert done.code == 2, done.err
    assert "mem cannot be read: Input/output error" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (lambda names: names[::-1], "the data's classes in another order"),
        (lambda names: names[:-1], "9 classes, the data 10"),
        (lambda names: ["strange", *names[1:]], "other classes than the data: 'strange'"),
    ],
)
def test_a_file_that_knows_other_classes_is_refused(tiny, tmp_path, order, said):
    shutil.copytree(tiny.stage_folder("teacher"), tmp_path / "kept")
    model = json.loads((tmp_path / "kept" / "model.json").read_text())
    (tmp_path / "kept" / "model.json").write_text(json.dumps({**model, "classes": order(model["classes"])}))
    weights = str(tmp_path / "kept" / "weights.safetensors")
    given = {**RECIPE["teacher"], "weights": weights, "trained_on": "train"}
    done = run(tmp_path, teacher=given, teacher_training=None)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert "pretrained: FILE" in done.err


def test_a_file_that_does_not_fit_is_refused_with_every_difference(tmp_path):
    path, state = other_net(tmp_path, classes=10)
    del state["bn1.bias"]
    save_file({**state, "extra": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    given = {**RECIPE["student"], "pretrained": str(tmp_path / "wrong.safetensors"), "trained_on": "other"}
    done = run(tmp_path, student=given)
    assert done.code == 2
    flat = " ".join(done.err.split())
    assert "student.pretrained: " in flat
    assert "1 missing: bn1.bias; 1 surplus: extra" in flat


def test_published_weights_that_cannot_be_had_say_where_they_would_be(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    student = {"name": "mobilenet_v3_small", "pretrained": True}
    done = run(tmp_path, student=student)
    assert done.code == 6, done.err
    flat = "".join(done.err.split())
    assert "https://download.pytorch.org/models/mobilenet_v3_small-" in flat
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "mobilenet_v3_small-") in flat
    assert "student.pretrained=FILE" in flat


@pytest.mark.parametrize(
    ("role", "given", "said"),
    [
        ("student", {"weights": "w.pth", "trained_on": "other"}, "use student.pretrained"),
        ("student", {"pretrained": "w.pth"}, "which images it has seen"),
        ("student", {"pretrained": "none.pth", "trained_on": "other"}, "there is no file"),
        ("student", {"pretrained": "w.pth", "trained_on": "all_train"}, "this student has seen the images"),
        ("student", {"freeze_epochs": 1}, "only a pretrained network"),
        (
            "student",
            {"pretrained": "w.pth", "trained_on": "other", "freeze_epochs": 3},
            "exceeds the 2 epochs",
        ),
        ("student", {"mean": [0.5] * 3, "std": [0.2] * 3}, "mean and std belong to"),
        ("student", {"pretrained": True, "mean": [0.5] * 3}, "mean and std belong together"),
        ("student", {"pretrained": True}, "no published weights are known for resnet8"),
        ("teacher", {"pretrained": "w.pth", "weights": "w.pth", "trained_on": "other"}, "not both"),
        ("teacher", {"pretrained": "w.pth", "trained_on": "all_train"}, "this teacher has seen the images"),
    ],
)
def test_what_is_not_said_or_cannot_be_is_refused_by_the_plan(tmp_path, role, given, said):
    other_net(tmp_path, classes=10, name="w.pth")
    done = run(tmp_path, "--dry-run", **{role: {**RECIPE[role], **given}})
    assert done.code == 2, done.err
    assert said in " ".join(done.err.split())
