"""What is known before training is refused by the plan, which --dry-run and the run share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import command, recipe_with, written

from calkd_edge.models import MODELS


def images(folder: Path, counts: dict[str, int]) -> Path:
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def of_folder(folder: Path, **data: object) -> dict[str, object]:
    return {"name": "image_folder", "root": str(folder), "image_size": 16, "calibration_images": 20, **data}


def gate(**changes: object) -> list[dict[str, object]]:
    return [{"metric": "size_bytes", "max": 4_000_000, **changes}]


SYNTHETIC = {"name": "synthetic", "calibration_images": 120}
WEIGHTS = {"name": "resnet8", "width": 0.5, "trained_on": "other"}


def refused(tmp_path, *options: str, **changes: object) -> str:
    """The error and the fix of a plan; nothing was written."""
    recipe = written(tmp_path, recipe_with(**changes))
    done = command("compress", recipe, "--dry-run", "--store", tmp_path / "store", *options)
    assert done.code in (2, 6), done.err
    assert not (tmp_path / "store").exists()
    return done.err


def planned(tmp_path, *options: str, **changes: object) -> str:
    recipe = written(tmp_path, recipe_with(**changes))
    done = command("compress", recipe, "--dry-run", "--store", tmp_path / "store", *options)
    assert done.code == 0, done.err
    return " ".join(done.err.split())


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"data": {**SYNTHETIC, "calibration_images": 5_000}}, "5000 requested of 600", "Lower data.cal"),
        ({"data": {**SYNTHETIC, "test_images": 1}}, "1 test image(s)", "Raise data.test_images"),
        ({"evaluate": {"images": 1}}, "1 test image(s)", "evaluate.images"),
        ({"gates": gate(metric="ece", max=0.3)}, "ece cannot pass on 300 test images", "--allow-undecided"),
        ({"gates": gate(metric="top1_drop", max=0.005)}, "539 are needed", "loosen its limit"),
        ({"gates": [{"metric": "top1", "min": 0.995}]}, "598 are needed", "loosen its limit"),
        (
            {"student": {"name": "resnet8", "pretrained": True}},
            "no published weights",
            "student.pretrained=FILE",
        ),
    ],
)
def test_counts_and_gates_are_checked(tmp_path, changes, message, fix):
    error = refused(tmp_path, **changes)
    assert message in error
    assert fix in error


def test_a_gate_that_cannot_pass_is_taken_where_undecided_is_allowed(tmp_path):
    planned(tmp_path, "--allow-undecided", gates=gate(metric="ece", max=0.3))
    planned(tmp_path, gates=gate(metric="top1_drop", max=0.01))


def test_a_class_without_test_images_is_refused(tmp_path):
    folder = images(tmp_path / "data", {"cat": 60, "dog": 60, "eel": 1})
    error = refused(tmp_path, data=of_folder(folder))
    assert "1 of 3 classes would have no test image" in error
    assert "eel" in error


def test_what_is_left_out_and_few_images_are_told(tmp_path):
    folder = images(tmp_path / "data", {"cat": 60, "dog": 60, "eel": 30})
    for number in range(20):
        (folder / "eel" / f"{number}.png").rename(folder / "eel" / f"{number}.HEIC")
    told = planned(tmp_path, data=of_folder(folder))
    assert "Data: read as one folder a class, no test part: 130 images in 3 classes." in told
    assert "20 x not an image file that can be read (.heic): eel/" in told
    assert "fewer than 10 test images: eel (2)" in told
    assert "Expected time: about" in told


def test_a_smoke_run_fits_a_small_folder_and_warns_of_the_whole_run(tmp_path):
    folder = images(tmp_path / "data", {"cat": 40, "dog": 40})
    told = planned(tmp_path, "--smoke", data=of_folder(folder, calibration_images=500))
    assert "WARNING: without --smoke it would be refused: data.calibration_images: 500 requested" in told


def state(classes: int, width: float) -> dict[str, torch.Tensor]:
    return MODELS.load("resnet8")(classes, (3, 32, 32), width=width).state_dict()


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("teacher", lambda: state(10, 1.0), "does not fit"),
        ("teacher", lambda: state(7, 0.5), "does not fit"),
        ("teacher", dict, "contains no state dict"),
        ("student", lambda: state(10, 1.0), "does not fit"),
        ("student", dict, "contains no state dict"),
    ],
)
def test_weights_are_opened_and_fitted(tmp_path, role, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content(), path)
    if role == "teacher":
        changes = {"teacher": {**WEIGHTS, "weights": str(path)}, "teacher_training": None}
    else:
        changes = {"student": {**WEIGHTS, "pretrained": str(path)}}
    error = refused(tmp_path, **changes)
    assert message in error
    assert f"{role}." in error


@pytest.mark.parametrize(
    ("architecture", "size"),
    [("inception_v3", 32), ("vit_b_16", 40), ("maxvit_t", 64), ("squeezenet1_0", 20)],
)
def test_network_that_cannot_take_images_of_this_size_is_refused(tmp_path, architecture, size):
    folder = images(tmp_path / "data", {"cat": 60, "dog": 60})
    model = {"name": "torchvision", "architecture": architecture}
    error = refused(tmp_path, data=of_folder(folder, image_size=size), teacher=model)
    assert f"the network {architecture} cannot take images of {size} x {size} pixels" in error
    assert "Set data.image_size" in error


def test_network_given_by_weights_is_refused_for_its_image_size_too(tmp_path):
    folder = images(tmp_path / "data", {"cat": 60, "dog": 60})
    build = MODELS.load("torchvision")
    torch.save(build(2, (3, 20, 20), architecture="squeezenet1_0").state_dict(), tmp_path / "weights.pth")
    teacher = {"name": "torchvision", "architecture": "squeezenet1_0", "trained_on": "other"}
    changes = {"teacher": {**teacher, "weights": str(tmp_path / "weights.pth")}, "teacher_training": None}
    error = refused(tmp_path, data=of_folder(folder, image_size=20), **changes)
    assert "the network squeezenet1_0 cannot take images of 20 x 20 pixels" in error


def test_network_whose_library_computes_while_it_builds_is_planned(tmp_path):
    folder = images(tmp_path / "data", {"cat": 60, "dog": 60})
    model = {"name": "torchvision", "architecture": "regnet_y_400mf"}
    planned(tmp_path, data=of_folder(folder, image_size=32), student=model)


def test_pretrained_weights_of_other_classes_fit_a_student(tmp_path):
    torch.save(state(7, 0.5), tmp_path / "weights.pth")
    planned(tmp_path, student={**WEIGHTS, "pretrained": str(tmp_path / "weights.pth")})


def test_an_onnx_teacher_is_opened(tmp_path):
    (tmp_path / "teacher.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 12\n")
    teacher = {"name": "onnx", "weights": str(tmp_path / "teacher.onnx"), "trained_on": "other"}
    error = refused(tmp_path, teacher=teacher, teacher_training=None)
    assert "teacher.onnx" in error
    assert "Git LFS" in error


def test_published_weights_must_be_reachable(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    student = {"name": "mobilenet_v2", "width": 1.0, "pretrained": True}
    error = refused(tmp_path, student=student)
    assert "student.pretrained: cannot download https://download.pytorch.org" in error
    assert f"copy the file to {tmp_path / 'cache'}" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("section", ["teacher_training", "distill"])
def test_the_accelerator_is_asked_for_its_number_formats(tmp_path, section):
    error = refused(tmp_path, **{section: {**recipe_with()[section], "autocast": "fp16"}})
    assert f"{section}.autocast: fp16 does not work on this accelerator (cpu)" in error
    assert "torch sees no CUDA device" in refused(tmp_path, "--accelerator", "cuda")


def test_steps_that_do_not_fit_into_memory_are_refused(tmp_path):
    data = {**SYNTHETIC, "image_size": 512}
    distill = {**recipe_with()["distill"], "images_per_step": 100_000}
    error = refused(tmp_path, data=data, distill=distill)
    assert "distill.images_per_step: steps of 100,000 images need about" in error
    assert "or fewer" in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("not_python", "def x(:\n", "SyntaxError"),
        ("divides", "\n\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("asks", "import no_such_package_anywhere\n", "no_such_package_anywhere"),
        ("file.py", "", "a module is named, not a file"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(
    tmp_path, monkeypatch, name, content, message
):
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    done = command("compress", "quickstart", "--dry-run", "--plugin", name)
    sys.modules.pop(name, None)
    assert done.code == 2
    assert message in done.err
    assert name.endswith(".py") or f"{name}.py, line" in done.err


def on(runtime: str, **options: object) -> list[dict[str, object]]:
    return [{"name": "local", "runtime": runtime, "options": options}]


@pytest.mark.parametrize(
    ("devices", "message", "fix"),
    [
        (on("onnxruntime", spinning="no"), "spinning cannot be 'no'", "true or false"),
        (on("onnxruntime", spinning=1), "spinning cannot be 1", "true or false"),
        (on("onnxruntime", optimization="some"), "optimization cannot be 'some'", "Use all or none"),
        (on("onnxruntime", optimization=["all"]), "optimization cannot be ['all']", "Use all or none"),
        (on("onnxruntime", providers=[]), "providers cannot be []", "CPUExecutionProvider"),
        (on("onnxruntime", providers="CPUExecutionProvider"), "providers cannot be", "a list of texts"),
        (on("onnxruntime", disabled_optimizers=[None]), "disabled_optimizers cannot be", "a list of texts"),
        (on("onnxruntime", providers=["RocketProvider"]), "no provider RocketProvider", "Available here"),
        (on("openvino", inference_precision="f8"), "inference_precision cannot be 'f8'", "f32 or f16"),
        (on("tensorrt", dla_core=-1), "dla_core cannot be -1", "from 0 on"),
        (on("tensorrt", optimization_level=True), "optimization_level cannot be True", "from 0 to 5"),
        (on("tensorrt", max_images=0), "max_images cannot be 0", "from 1 on"),
        (on("tensorrt", capability="86"), "capability cannot be '86'", "SM86"),
    ],
)
def test_an_option_that_a_runtime_does_not_take_is_told_before_anything_trains(
    tmp_path, devices, message, fix
):
    recipe = written(tmp_path, recipe_with(devices=devices))
    done = command("compress", recipe, "--dry-run", "--store", tmp_path / "store")
    assert done.code in (2, 5)
    assert message in " ".join(done.err.split())
    assert fix in " ".join(done.err.split())


def test_threads_that_a_device_has_no_cores_for_are_refused(tmp_path):
    changes = {"benchmark": {"threads": 100_000}, "precisions": [{"name": "fp32"}]}
    assert "100000 threads of onnxruntime" in refused(tmp_path, **changes)
