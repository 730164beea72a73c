"""Losses that read features, between two real networks: a whole run of all of them, and what is refused."""

from __future__ import annotations

import json

import pytest
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.losses import LOSSES

STUDENT = {"name": "mobilenet_v2", "width": 0.25}
STAGES = {
    "student": ["features.3", "features.6", "features.18"],
    "teacher": ["layer1", "layer2", "layer3"],
}
BEFORE_RELU = {
    "student": ["features.3.conv.0.2:input", "features.18.2:input"],
    "teacher": ["layer2.0.relu:input", "layer3.0.relu:input"],
    "teacher_norms": ["layer2.0.bn2", "layer3.0.bn2"],
}
POOLED = {"student": "classifier.1:input", "teacher": "fc:input"}
SETTINGS = {
    "hint": {"student": "features.6", "teacher": "layer2"},
    "at": STAGES,
    "nst": STAGES,
    "pkt": POOLED,
    "sp": {"student": "features.18", "teacher": "layer3"},
    "rkd": POOLED,
    "vid": STAGES,
    "ofd": BEFORE_RELU,
    "crd": {**POOLED, "size": 16, "negatives": 64},
    "reviewkd": {
        "student": [*STAGES["student"], "classifier.1:input"],
        "teacher": [*STAGES["teacher"], "fc:input"],
        "warmup_epochs": 0.5,
    },
    "cat_kd": {
        "student": "features.18",
        "teacher": "layer3",
        "student_classifier": "classifier.1",
        "teacher_classifier": "fc",
    },
}


def recipe_of(*losses):
    terms = [{"name": "cross_entropy"}, *losses]
    return recipe_with(
        data={**RECIPE["data"], "train_images": 128},
        student=STUDENT,
        distill={**RECIPE["distill"], "epochs": 1, "losses": terms},
        precisions=[{"name": "fp32"}],
        evaluate={"corruptions": []},
        gates=[{"metric": "top1", "min": 0.01}],
    )


def test_every_loss_on_features_trains_a_mobile_student(tiny, tmp_path):
    losses = [{"name": name, "weight": 0.01, **given} for name, given in SETTINGS.items()]
    recipe = written(tmp_path, recipe_of(*losses, {"name": "kd"}))
    done = command("compress", "--recipe", recipe, "--store", tiny.store, "--out", tmp_path / "out")
    assert done.code in (0, 4), done.err  # after so few steps no temperature may fit: undecided
    histories = [
        json.loads(line)
        for manifest in tiny.store.glob("objects/*/*/manifest.json")
        if json.loads(manifest.read_text())["stage"] == "distill"
        for line in (manifest.parent / "history.jsonl").read_text().splitlines()
    ]
    terms = max(
        ({key: value for key, value in line.items() if key.startswith("train_")} for line in histories),
        key=len,
    )
    assert {name.removeprefix("train_") for name in terms} == {"cross_entropy", "kd", *SETTINGS}
    assert all(abs(value) < 1e6 for value in terms.values())
    assert set(SETTINGS) | {"cross_entropy"} <= set(LOSSES)


def test_a_loss_that_remembers_images_refuses_mixed_ones(tmp_path):
    tree = recipe_of({"name": "crd", **SETTINGS["crd"]})
    tree["distill"]["mixing"] = {"name": "mixup"}
    done = command(
        "compress", "--recipe", written(tmp_path, tree), "--store", tmp_path / "store", "--dry-run"
    )
    assert done.code == 2
    assert "distill.mixing: crd keeps values of each training image" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("loss", "said", "remedy"),
    [
        ({"name": "hint", "student": "features.6", "teacher": "layr2"}, "teacher has no module", "layer2"),
        ({"name": "pkt", **POOLED, "student": "classifer.1:input"}, "student has no module", "classifier.1"),
        ({"name": "at", "student": ["features.6"], "teacher": ["fc:input"]}, "has the shape [32]", "Tap a"),
        (
            {"name": "ofd", **BEFORE_RELU, "teacher_norms": ["layer2.0.bn2", "layer2.0.bn2"]},
            "not a batch normalisation of 32 channels",
            "layer3.0.relu:input",
        ),
        (
            {"name": "cat_kd", **SETTINGS["cat_kd"], "teacher_classifier": "layer3"},
            "does not read the 32 channels",
            "linear layer",
        ),
        (
            {"name": "vid", "student": ["features.6"], "teacher": ["layer1", "layer2"]},
            "1 taps",
            "equally many",
        ),
    ],
)
def test_a_tap_that_cannot_be_is_refused_before_anything_trains(tmp_path, loss, said, remedy):
    recipe = written(tmp_path, recipe_of(loss))
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--dry-run")
    assert done.code == 2
    said_flat = " ".join(done.err.split())
    assert "recipe.yaml: distill.losses[1]: " in said_flat
    assert said in said_flat
    assert remedy in said_flat
