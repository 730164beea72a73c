"""What the stages that train are fingerprinted by: the content of every file, and how batches are drawn."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_run import RECIPE, recipe_with

from calkd_edge.models import image_model
from calkd_edge.models.image_model import ModelDescription
from calkd_edge.pipeline import preparation as pipeline
from calkd_edge.pipeline.options import Options
from calkd_edge.recipe.schema import parse
from calkd_edge.stages.params import DistillParams, TeacherParams
from calkd_edge.stages.start import _normalised

TAUGHT = ModelDescription(
    name="resnet8",
    settings={"width": 0.5},
    classes=tuple(f"grating_{label:02d}" for label in range(10)),
    image_shape=(3, 32, 32),
    mean=(0.2, 0.3, 0.4),
    std=(0.1, 0.2, 0.3),
    trained_on="train",
)


def planned(tmp_path, **changes):
    recipe = parse(recipe_with(**changes), where="a recipe")
    return pipeline.plan_stages(pipeline.Run(recipe, "a recipe", Options(tmp_path, tmp_path)))[0]


def teacher_of(tmp_path, **section):
    training = {} if "pretrained" in section else {"teacher_training": None}
    return planned(tmp_path, teacher={"trained_on": "train", **section}, **training).teacher


def external(path, seed):
    """A teacher whose numbers lie in another file; its own file is the same for every seed."""
    weight = np.random.default_rng(seed).normal(size=(3 * 32 * 32, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.with_name("data.bin").unlink(missing_ok=True)
    onnx.save_model(model, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    return path.read_bytes()


def test_a_teacher_with_other_external_data_is_another_teacher(tmp_path):
    path = tmp_path / "teacher.onnx"
    plans, files = [], []
    for seed in (0, 1, 0):
        files.append(external(path, seed))
        given = {"name": "onnx", "weights": str(path), "mean": [0.5] * 3, "std": [0.2] * 3}
        plans.append(teacher_of(tmp_path, **given).fingerprint)
    assert files[0] == files[1]
    assert plans[0] == plans[2] != plans[1]


@pytest.mark.parametrize("key", ["weights", "pretrained"])
def test_a_model_json_that_is_added_beside_weights_is_noticed_and_used(tmp_path, key):
    image_model.save(image_model.build(TAUGHT), TAUGHT, tmp_path)
    given = {**RECIPE["teacher"], key: str(tmp_path / "weights.safetensors")}
    (tmp_path / "model.json").rename(tmp_path / "kept.json")
    without = teacher_of(tmp_path, **given)
    (tmp_path / "kept.json").rename(tmp_path / "model.json")
    beside = teacher_of(tmp_path, **given)
    assert "beside" not in without.params, "its fingerprint is that of before"
    assert without.fingerprint != beside.fingerprint
    params = TeacherParams.model_validate(beside.params)
    other = TAUGHT.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    assert _normalised(other, params, params.beside) == TAUGHT


def test_of_a_model_json_only_what_counts_is_fingerprinted(tmp_path):
    """The recipe's normalisation stands above it, and a pretrained network gets the data's classes."""
    image_model.save(image_model.build(TAUGHT), TAUGHT, tmp_path)
    own = {**RECIPE["teacher"], "mean": [0.5] * 3, "std": [0.2] * 3}
    weights = str(tmp_path / "weights.safetensors")
    assert "beside" not in teacher_of(tmp_path, **own, pretrained=weights).params
    first = teacher_of(tmp_path, **own, weights=weights)
    assert first.params["beside"] == {"classes": list(TAUGHT.classes), "mean": None, "std": None}
    turned = TAUGHT.model_copy(update={"classes": TAUGHT.classes[::-1]})
    (tmp_path / "model.json").write_text(turned.model_dump_json())
    assert teacher_of(tmp_path, **own, weights=weights).fingerprint != first.fingerprint


def test_only_trainings_with_the_sampler_are_trained_again_for_its_mixed_rounds(tmp_path):
    for balance, is_mixed in (("none", False), ("sampler", True)):
        plan = planned(tmp_path, data={**RECIPE["data"], "balance": balance})
        for stage, kind in ((plan.teacher, TeacherParams), (plan.student, DistillParams)):
            assert ("mixes_classes" in json.loads(json.dumps(stage.params))) == is_mixed
            assert kind.model_validate(stage.params).mixes_classes == is_mixed
