"""What a sweep of a recipe's options must be told: values of texts and paths, needs, and what is not here."""

from __future__ import annotations

from typing import Any

from tiny_run import recipe_with

BASE = recipe_with(
    data={"name": "synthetic", "calibration_images": 60, "train_images": 128, "test_images": 100},
    precisions=[{"name": "fp32"}],
    evaluate={"corruptions": []},
    benchmark={"min_runs": 10, "min_seconds": 0.05},
    gates=[],
)
for _training in ("teacher_training", "distill"):
    BASE[_training]["epochs"] = 1

KINDS = {
    "data": ("datasets",),
    "data.augmentation": ("augmentations",),
    "evaluate.unknown": ("datasets",),
    "teacher": ("teacher_files",),
    "teacher_training.optimizer": ("optimizers",),
    "teacher_training.schedule": ("schedules",),
    "teacher_training.mixing": ("mixings",),
    "calibrator": ("calibrators",),
    "student": ("models",),
    "distill.optimizer": ("optimizers",),
    "distill.schedule": ("schedules",),
    "distill.mixing": ("mixings",),
    "distill.losses": ("losses",),
    "precisions": ("precisions",),
    "calibrate.compare": ("tables", "calibrators"),
    "devices": ("runtimes",),
    "gates": ("gates",),
}
"""Section -> the kinds of `calkd-edge list` whose names and settings it takes."""

LISTS = ("distill.losses", "precisions", "calibrate.compare", "devices", "gates")
"""Sections that are lists; a case puts its entry in place of the list, or behind what the list needs."""

DISCRIMINATOR = {"devices": "runtime", "gates": "metric"}
"""The key of a section that holds the name, where it is not `name`."""

TAPS = {"student": "layer3", "teacher": "layer3"}
STAGES = {"student": ["layer2", "layer3"], "teacher": ["layer2", "layer3"]}
POOLED = {"student": "fc:input", "teacher": "fc:input"}

GIVEN: dict[tuple[str, str], dict[str, Any]] = {
    **{("losses", name): TAPS for name in ("hint", "sp")},
    **{("losses", name): STAGES for name in ("at", "nst", "vid")},
    **{("losses", name): POOLED for name in ("pkt", "rkd")},
    ("losses", "crd"): {**POOLED, "size": 16, "negatives": 64},
    ("losses", "ofd"): {
        "student": ["layer2.0.relu:input", "layer3.0.relu:input"],
        "teacher": ["layer2.0.relu:input", "layer3.0.relu:input"],
        "teacher_norms": ["layer2.0.bn2", "layer3.0.bn2"],
    },
    ("losses", "reviewkd"): {
        "student": ["layer1", "layer2", "layer3", "fc:input"],
        "teacher": ["layer1", "layer2", "layer3", "fc:input"],
        "channels": 16,
    },
    ("losses", "cat_kd"): {**TAPS, "student_classifier": "fc", "teacher_classifier": "fc"},
    ("models", "shufflenet_v2"): {"width": 0.5},
    ("models", "timm"): {"architecture": "test_resnet"},
    ("models", "torchvision"): {"architecture": "shufflenet_v2_x0_5"},
    ("datasets", "image_folder"): {"root": "{folder}", "image_size": 32},
    ("datasets", "loose_images"): {"root": "{folder}", "image_size": 32},
    ("datasets", "cifar100"): {"root": "{cifar100}"},
    ("datasets", "fashion_mnist_small"): {},
    ("teacher_files", "onnx"): {"weights": "{onnx}", "trained_on": "train"},
    ("optimizers", "sgd"): {"lr": 0.01, "momentum": 0.5},
    ("optimizers", "adamw"): {"lr": 0.001},
    ("schedules", "steps"): {"at_epochs": [1]},
    ("precisions", "int8_qat"): {"epochs": 1, "lr": 0.001},
}
"""Settings of a name that have no default, or whose values here are chosen: paths, taps, small numbers."""

SMALLEST = {"width": 0.25, "images": 32, "epochs": 1}
"""Settings that a name has only by the way; a case sets them small, except where they are swept."""

NEEDS: dict[str, dict[str, Any]] = {
    "data=image_folder": {
        "data.train_images": None,
        "data.test_images": None,
        "data.calibration_images": 20,
    },
    "data=cifar100": {
        "data.train_images": 256,
        "data.test_images": 128,
        "data.calibration_images": 100,
    },
    "teacher=onnx": {"teacher_training": None, "teacher.width": None},
    "teacher.weights": {"teacher_training": None, "teacher.trained_on": "train"},
    "teacher.trained_on": {"teacher.pretrained": "{weights}"},
    "student.trained_on": {"student.pretrained": "{weights}"},
    "student.weights": {"student.trained_on": "train"},
    **{
        f"{role}.{key}": {f"{role}.pretrained": "{weights}", f"{role}.trained_on": "other", **more}
        for role in ("teacher", "student")
        for key, more in {
            "pretrained": {},
            "freeze_epochs": {},
            "mean": {f"{role}.std": [0.25, 0.25, 0.25]},
            "std": {f"{role}.mean": [0.5, 0.5, 0.5]},
        }.items()
    },
    "distill.schedule=steps": {"distill.epochs": 2, "teacher_training.epochs": 2},
    "distill.mixing=mixup": {},
    "evaluate.corrupted_images": {"evaluate.corruptions": ["noise"]},
    "evaluate.unknown.images": {"evaluate.unknown.name": "synthetic", "evaluate.unknown.seed": 5},
    "evaluate.unknown.root": {"evaluate.unknown.name": "loose_images", "evaluate.unknown.image_size": 32},
    "evaluate.unknown=synthetic": {},
    "gates.model=teacher": {"gates": [{"metric": "size_bytes", "max": 1e9, "model": "teacher"}]},
}
"""What an option needs beside it: path, path=value, or section=name -> values by path; None removes one."""

JUDGED: dict[str, Any] = {
    "evaluate.corruptions": ["noise"],
    "evaluate.corrupted_images": 1000,
    "evaluate.unknown": {"name": "synthetic", "seed": 5, "images": 40},
    "data.test_images": None,
    "data.test_images_per_class": 110,
    "precisions": [{"name": "fp32"}, {"name": "fp16"}],
}
"""What a gate needs: images enough for every metric, and a file to compare with fp32's."""

VALUES: dict[str, list[Any]] = {
    "version": [1],
    "name": ["another.name"],
    "calibrate.on": ["local"],
    "data.root": ["{folder}"],
    "evaluate.unknown.root": ["{folder}"],
    "teacher.weights": ["{weights}"],
    "student.weights": ["{weights}"],
    "teacher.pretrained": ["{weights}", "auto"],
    "student.pretrained": ["{weights}", "auto"],
    "teacher.mean": [[0.5, 0.5, 0.5]],
    "student.mean": [[0.5, 0.5, 0.5]],
    "teacher.std": [[0.25, 0.25, 0.25]],
    "student.std": [[0.25, 0.25, 0.25]],
    "distill.soft_labels.top": [3],
    "evaluate.corruptions": [[name] for name in ("brightness", "blur", "noise", "jpeg")],
    "evaluate.thresholds": [[0.3], [], [0.3, {"precision": 0.6}]],
    "benchmark.min_seconds": [0.1],
    "devices.name": ["local"],
    "gates.precision": ["fp32"],
    "gates.device": ["local", "local:onnxruntime"],
    "runtimes[onnxruntime].providers": [["CPUExecutionProvider"]],
    "runtimes[onnxruntime].optimization": ["none"],
    "runtimes[onnxruntime].disabled_optimizers": [["ConstantFolding"]],
    "runtimes[openvino].inference_precision": ["f16", "bf16"],
    "losses[mlkd].temperatures": [[1.0, 3.0]],
    "teacher_files[onnx].layout": ["nchw"],
    "teacher_files[onnx].classes": [[f"grating_{label:02d}" for label in range(10)]],
}
"""Values of options that are texts, paths or lists, which a schema cannot tell."""

CIFAR, GPU = "CIFAR-10 is 163 MB to download", "needs an NVIDIA GPU: tests/end_to_end/test_tensorrt_run.py"
FLOAT_FILE = "of files with float input: tests/end_to_end/test_onnx_teacher.py"
NOT_HERE: dict[str, str] = {
    "calibrate.on": "a board: tests/end_to_end/test_board_run.py",
    "data=cifar10": f"{CIFAR}: tests/data/test_data_cifar.py",
    "evaluate.unknown=cifar10": f"{CIFAR}: tests/data/test_data_cifar.py",
    "data=loose_images": "it has no labels: tests/pipeline/test_unknown_images.py",
    "devices=tensorrt": GPU,
    "teacher.pretrained=True": "published weights are downloaded: tests/models/test_pretrained.py",
    "student.pretrained=True": "published weights are downloaded: tests/models/test_pretrained.py",
    **{
        f"teacher_files[onnx].{key}": FLOAT_FILE
        for key in ("mean", "std", "channels", "image_size", "scores_output", "scores", "layout")
    },
}
TOO_LARGE = (
    "data.calibration_images",
    "distill.soft_labels.views",
    "datasets[synthetic].classes",
    "datasets[synthetic].image_size",
    "datasets[image_folder].image_size",
    "tables[histogram].bins",
)
"""Numbers whose upper bound takes minutes."""

REFUSED = {
    "distill.autocast=fp16": "no processor computes it: GPUs only",
    "student.weights={weights}": "the student is trained here",
    "teacher.trained_on=all_train": "calibration would use memorised images",
    "student.trained_on=all_train": "calibration would use memorised images",
}
"""Values that the plan refuses by design."""
