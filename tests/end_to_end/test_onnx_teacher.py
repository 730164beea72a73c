"""A teacher in an ONNX file: the answers of the net it was exported from, and what cannot be done with it."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.models import image_model, onnx_net
from calkd_edge.pipeline import notices


def stage_folder(store: Path, name: str) -> Path:
    for manifest in store.glob("objects/*/*/manifest.json"):
        if json.loads(manifest.read_text())["stage"] == name:
            return manifest.parent
    raise AssertionError(f"no stage {name} in {store}")


def probabilities(folder: Path) -> np.ndarray:
    centred = np.load(folder / "logits.npy").astype(np.float64)
    shares = np.exp(centred)
    return shares / shares.sum(-1, keepdims=True)


def float_export(folder: Path, target: Path) -> tuple[list[float], list[float]]:
    """The teacher as another framework might ship it: float input, no softmax; returns its mean and std."""
    model, description = image_model.load(folder)
    torch.onnx.export(
        model.backbone,
        (torch.zeros(2, *description.image_shape),),
        target,
        input_names=["pixels"],
        output_names=["scores"],
        dynamic_shapes=({0: "n"},),
        opset_version=18,
        verbose=False,
        external_data=False,
    )
    return list(description.mean), list(description.std)


def test_a_gpu_computes_the_teachers_file_itself_where_onnx_runtime_can(monkeypatch):
    gpu = torch.device("cuda", 3)
    monkeypatch.setattr(onnx_net.onnxruntime, "get_available_providers", lambda: [onnx_net.CUDA])
    (name, options), fallback = onnx_net.providers_for(gpu)
    assert (name, options["device_id"], options["use_tf32"]) == (onnx_net.CUDA, 3, 0)
    assert fallback == "CPUExecutionProvider"
    assert onnx_net.providers_for(torch.device("cpu")) == ["CPUExecutionProvider"]
    monkeypatch.setattr(onnx_net.onnxruntime, "get_available_providers", lambda: [])
    assert onnx_net.providers_for(gpu) == ["CPUExecutionProvider"]


def test_a_file_that_the_gpu_cannot_compute_is_named_in_the_plan(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert notices._file_on_gpu("cpu") == []
    (warning,) = notices._file_on_gpu("auto")
    assert warning.startswith("WARNING: the teacher's ONNX file runs on the CPU")
    assert "onnxruntime-gpu" in warning


@pytest.fixture(scope="module")
def teachers(tiny, tmp_path_factory):
    """The tiny run's teacher as weights, and as a float ONNX file with its recipe section."""
    folder = tmp_path_factory.mktemp("teachers")
    trained = tiny.stage_folder("teacher")
    shutil.copy(trained / "weights.safetensors", folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own parts
        mean, std = float_export(trained, folder / "teacher.onnx")
    weights = {**RECIPE["teacher"], "weights": str(folder / "weights.safetensors"), "trained_on": "train"}
    file = {
        "name": "onnx",
        "weights": str(folder / "teacher.onnx"),
        "trained_on": "train",
        "mean": mean,
        "std": std,
    }
    return folder, weights, file


def run(tmp_path, teacher, *more, **changes):
    changes = {"precisions": [{"name": "fp32"}], "evaluate": {"corruptions": []}, **changes}
    recipe = written(tmp_path, recipe_with(teacher=teacher, teacher_training=None, **changes))
    return command(
        "compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out", *more
    )


def test_file_and_weights_of_one_teacher_give_the_same_soft_labels(tmp_path, teachers):
    _, weights, file = teachers
    for name, teacher in (("weights", weights), ("file", file)):
        (tmp_path / name).mkdir()
        done = run(tmp_path / name, teacher)
        assert done.code == 0, done.err
        runtime = "ONNX Runtime" if name == "file" else "torch"
        assert f"{runtime} runs the teacher" in done.out + done.err
    stored = [stage_folder(tmp_path / name / "store", "soft-labels") for name in ("weights", "file")]
    own, theirs = map(probabilities, stored)
    assert np.abs(own - theirs).max() < 1e-3
    offsets = [np.load(folder / "offsets.npy") for folder in stored]
    np.testing.assert_allclose(*offsets, atol=1e-4)
    report = json.loads((tmp_path / "file" / "out" / "report.json").read_text())
    assert report["models"]["teacher"]["name"] == "onnx"
    assert report["models"]["teacher"]["trained_on"] == "train"


def test_file_can_teach_live_where_images_are_mixed(tmp_path, teachers):
    _, _, file = teachers
    done = run(tmp_path, file, distill={**RECIPE["distill"], "mixing": {"name": "mixup"}})
    assert done.code == 0, done.err
    assert "teacher runs in every step" in done.out + done.err


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        (
            {"weights": None, "trained_on": None, "mean": None, "std": None},
            "give teacher_training",
            "teacher.weights",
        ),
        ({"trained_on": None}, "must say which images it has seen", ""),
        ({"trained_on": "all_train"}, "has seen the images that calibration would use", ""),
        ({"mean": None, "std": None}, "takes float images", "teacher.mean"),
        (
            {"name": "resnet8", "mean": None, "std": None},
            "is an ONNX file, but torch builds the model 'resnet8'",
            "teacher.name: onnx",
        ),
        ({"layout": "nhwc"}, "channels instead of 3", ""),
    ],
)
def test_what_does_not_say_enough_is_refused(tmp_path, teachers, change, message, remedy):
    _, _, file = teachers
    teacher = {key: value for key, value in {**file, **change}.items() if value is not None}
    done = run(tmp_path, teacher)
    assert done.code == 2, done.err
    assert message in done.err
    assert remedy in done.err


def test_file_cannot_be_a_student_or_show_its_features(tmp_path, teachers):
    _, _, file = teachers
    done = run(tmp_path, file, student={"name": "onnx"})
    assert done.code == 2
    assert "can teach, but it cannot be trained" in done.err
    losses = [{"name": "hint", "student": "layer3", "teacher": "layer3"}]
    done = run(tmp_path, file, distill={**RECIPE["distill"], "losses": losses})
    assert done.code == 2
    assert "hint reads the teacher's features" in done.err


def test_another_number_of_classes_is_refused(tmp_path, teachers):
    folder, _, file = teachers
    model = onnx.load(folder / "teacher.onnx")
    cut = onnx.helper.make_node("Slice", ["scores", "from", "to", "axis"], ["few"], "cut")
    for name, value in (("from", 0), ("to", 3), ("axis", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    model.graph.node.append(cut)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("few", TensorProto.FLOAT, ["n", 3]))
    onnx.save(model, tmp_path / "few.onnx")
    done = run(tmp_path, {**file, "weights": str(tmp_path / "few.onnx")})
    assert done.code == 2, done.err
    assert "has 3 classes, the data have 10" in done.err
