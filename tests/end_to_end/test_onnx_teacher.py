"""A teacher in an ONNX file: the answers of the net it was exported from, and what cannot be done with it."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.export.artifacts import CALIBRATION_PREDICTIONS
from calkd_edge.models import image_model, onnx_net
from calkd_edge.pipeline import notices, teacher_order
from calkd_edge.records import Component, Predictions
from calkd_edge.stages.onnx_teacher import adopted_teacher


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


def ending_in(
    folder: Path, target: Path, nodes: list[onnx.NodeProto], **tensors: np.ndarray
) -> onnx.ModelProto:
    """The teacher's file with nodes behind its scores, of which the last makes `changed`."""
    model = onnx.load(folder / "teacher.onnx")
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()
    )
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("changed", TensorProto.FLOAT, ["n", 10]))
    onnx.save(model, target)
    return model


@pytest.mark.parametrize("where", ["metadata", "recipe"])
def test_a_file_teaches_its_classes_by_name_whatever_their_order(tmp_path, teachers, tiny, where):
    folder, _, file = teachers
    classes = tuple(tiny.report["data"]["classes"])
    order = np.random.default_rng(0).permutation(10)
    path, names = tmp_path / "other.onnx", [classes[position] for position in order]
    gather = onnx.helper.make_node("Gather", ["scores", "order"], ["changed"], axis=1)
    model = ending_in(folder, path, [gather], order=order)
    plain = {key: file[key] for key in ("mean", "std")}
    if where == "metadata":
        onnx.helper.set_model_props(model, {"names": str(dict(enumerate(names)))})  # as ultralytics writes it
        onnx.save(model, path)
    settings = plain if where == "metadata" else {**plain, "classes": names}
    (first, by_position), (second, by_name) = (
        adopted_teacher(Component(name="onnx", settings=given), of, classes, (3, 32, 32))
        for of, given in ((folder / "teacher.onnx", plain), (path, settings))
    )
    assert by_position.how.startswith("by position: class 0 is")
    assert by_name.how.endswith("in another order than the data")
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32), np.uint8)
    answers = []
    for adopted in (first, second):
        session = onnxruntime.InferenceSession(adopted.model.SerializeToString())
        answers.append(session.run(["logits", "probabilities"], {session.get_inputs()[0].name: images}))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("known", [0, 1])
def test_names_of_a_file_that_do_not_match_are_told(tmp_path, teachers, tiny, known):
    folder, _, file = teachers
    model = onnx.load(folder / "teacher.onnx")
    names = [*tiny.report["data"]["classes"][:known], *(f"n0{number}" for number in range(known, 10))]
    onnx.helper.set_model_props(model, {"names": json.dumps(names)})
    onnx.save(model, tmp_path / "named.onnx")
    done = run(tmp_path, {**file, "weights": str(tmp_path / "named.onnx")}, "--dry-run")
    text = " ".join((done.out + done.err).split())
    assert "--set 'teacher.classes=[a,b,c]'" in text
    if known:
        assert done.code == 2
        assert "is none of the file's 10" in text
    else:
        assert done.code == 0, text
        assert "WARNING: the teacher's classes were matched by position: class 0 is" in text


def batch_norm_in_training() -> list[onnx.NodeProto]:
    return [
        onnx.helper.make_node("ReduceMean", ["scores", "axes"], ["batch_mean"], keepdims=1),
        onnx.helper.make_node("Sub", ["scores", "batch_mean"], ["changed"]),
    ]


def softmax_by_hand() -> list[onnx.NodeProto]:
    return [
        onnx.helper.make_node("Sigmoid", ["scores"], ["half"]),
        onnx.helper.make_node("LpNormalization", ["half"], ["changed"], axis=1, p=1),
    ]


@pytest.mark.parametrize(
    ("nodes", "change", "message"),
    [
        (
            [onnx.helper.make_node("Div", ["scores", "zero"], ["changed"])],
            {},
            "answers that are not finite, for 16 of 16",
        ),
        (batch_norm_in_training(), {}, "answers an image otherwise alone than beside others"),
        (
            [onnx.helper.make_node("Identity", ["scores"], ["changed"])],
            {"scores": "probabilities"},
            "these are no probabilities",
        ),
        (softmax_by_hand(), {}, "--set teacher.scores=probabilities"),
    ],
    ids=["not finite", "batch", "logits as probabilities", "probabilities as logits"],
)
def test_answers_that_nobody_should_learn_from_are_refused_before_anybody_does(
    tmp_path, teachers, nodes, change, message
):
    folder, _, file = teachers
    tensors = {"zero": np.zeros(1, np.float32), "axes": np.zeros(1, np.int64)}
    ending_in(folder, tmp_path / "given.onnx", nodes, **tensors)
    done = run(tmp_path, {**file, "weights": str(tmp_path / "given.onnx"), **change})
    text = " ".join((done.out + done.err).split())
    assert done.code in (2, 7), text
    assert message in text
    assert "given.onnx" in text
    assert not list((tmp_path / "store").glob("objects/*/*/soft*"))


def test_answers_that_fit_another_order_of_the_classes_are_pointed_out(tmp_path, monkeypatch):
    labels = np.arange(40) % 4
    logits = np.eye(4, dtype=np.float32)[(labels + 1) % 4] * 5
    (tmp_path / "raw").mkdir()
    Predictions(logits, labels, np.arange(40)).save(tmp_path / "raw" / CALIBRATION_PREDICTIONS)
    teacher = SimpleNamespace(weights="t.pth")
    plan = SimpleNamespace(
        checked=SimpleNamespace(recipe=SimpleNamespace(teacher=teacher)),
        rows=[SimpleNamespace(raw=SimpleNamespace(fingerprint="raw"))],
        data=SimpleNamespace(fingerprint="data"),
    )
    prepared = SimpleNamespace(open=lambda folder: SimpleNamespace(classes=tuple("abcd")))
    monkeypatch.setattr(teacher_order, "Prepared", prepared)
    folders = {name: tmp_path / name for name in ("raw", "data")}
    (sentence,) = teacher_order.doubtful_order(plan, folders)
    assert "top-1 100.0% instead of 0.0%: images of 'a' are mostly predicted as 'b'" in sentence
    teacher.weights = None
    assert teacher_order.doubtful_order(plan, folders) == []
