"""Fingerprints of every stage of every packaged recipe: a published store must stay usable.

golden_fingerprints.json holds "<stage> <first 16 digits>" in the order of the plan, from before the package
moved to its floors. A change of what a stage writes raises its version, and changes these lines.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixed_world import fix_world
from tiny_run import RECIPE

from calkd_edge.pipeline import preparation as pipeline
from calkd_edge.pipeline.options import Options
from calkd_edge.recipe.schema import parse
from calkd_edge.recipe.source import packaged

GOLDEN = json.loads(Path(__file__).with_name("golden_fingerprints.json").read_text())
EVERY_STAGE = {
    **RECIPE,
    "name": "every_stage",
    "teacher_training": {**RECIPE["teacher_training"], "mixing": {"name": "mixup"}},
    "calibrate": {"compare": [{"name": "vector"}, {"name": "isotonic"}]},
    "distill": {**RECIPE["distill"], "control": True, "ema_decay": 0.9},
    "precisions": [
        {"name": "fp32"},
        {"name": "fp16"},
        *({"name": name, "images": 32} for name in ("int8", "int8_mixed", "int8_qat")),
    ],
    "devices": [
        {"name": "local", "runtime": "onnxruntime"},
        {"name": "local", "runtime": "litert"},
    ],
}
LIVE = {
    **EVERY_STAGE,
    "distill": {**EVERY_STAGE["distill"], "control": False, "soft_labels": {"views": 1, "live": True}},
}


@pytest.fixture
def fixed_world(monkeypatch):
    fix_world(monkeypatch)


def places(name: str, root: Path) -> list[str]:
    """What a packaged recipe needs to be planned; no published weights are here."""
    own = ["teacher.pretrained=auto", "student.pretrained=auto"] if name == "fine_tune" else []
    return own if name == "quickstart" else [f"data.root={root}", *own]


def lines(run: pipeline.Run) -> list[str]:
    plan, _ = pipeline.make_plan(run)
    return [f"{stage.name} {stage.fingerprint[:16]}" for stage in plan.stages]


@pytest.mark.parametrize("smoke", [False, True], ids=["whole", "smoke"])
@pytest.mark.parametrize("name", sorted(packaged()))
def test_packaged_recipe_keeps_its_fingerprints(name, smoke, fixed_world, tmp_path):
    run = pipeline.prepare_run(name, overrides=places(name, tmp_path), smoke=smoke)
    assert lines(run) == GOLDEN[f"{name} --smoke" if smoke else name]


@pytest.mark.parametrize(
    ("key", "tree", "options"),
    [
        ("every_stage", EVERY_STAGE, {}),
        ("every_stage --debug-parity", EVERY_STAGE, {"debug_parity": True}),
        ("every_stage --plugin", LIVE, {"plugins": {"mine": "0" * 64}}),
    ],
)
def test_every_kind_of_stage_keeps_its_fingerprint(key, tree, options, fixed_world, tmp_path):
    recipe = pipeline.run_devices.with_devices(parse(tree, where="a recipe"), ["someone@a-board:tensorrt"])
    run = pipeline.Run(recipe, "a recipe", Options(tmp_path, tmp_path, **options))
    assert lines(run) == GOLDEN[key]
