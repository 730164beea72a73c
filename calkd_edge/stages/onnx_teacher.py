"""teacher, when it is an ONNX file: the file with this package's inputs and outputs, and its description."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch

from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageArray, ImageShape
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.export import TEACHER_FILES
from calkd_edge.export.artifacts import CANONICAL, HISTORY
from calkd_edge.models.image_model import DESCRIPTION, ModelDescription
from calkd_edge.models.onnx_net import OnnxNet
from calkd_edge.onnx_model.adopt import Adopted, as_keys
from calkd_edge.onnx_model.class_names import ClassOrder, class_order
from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.onnx_model.outputs import reorder_classes
from calkd_edge.onnx_model.read import content_sha256
from calkd_edge.onnx_model.score_values import are_same, check_logits, check_probabilities
from calkd_edge.records import Component
from calkd_edge.stages.params import OnnxTeacherParams
from calkd_edge.stages.unchanged import unchanged

NAME_THEM = (
    "name the file's classes as the folders are named, in the file's order: --set 'teacher.classes=[a,b,c]'"
)
COMPARED = 16
"""Calibration images that the file answers together and alone before anything learns from it."""


def adopted_teacher(
    component: Component, path: Path, classes: tuple[str, ...], shape: ImageShape
) -> tuple[Adopted, ClassOrder]:
    """The file in this package's form with the data's order of classes, and how that was determined.

    Args:
        component: the kind of file, with its settings.
        path: of the file.
        classes: of the data.
        shape: (3, H, W) of the data.

    Raises:
        RecipeError: it is no classifier of these classes and images, or cannot run one image at a time.
    """
    adopted: Adopted = TEACHER_FILES.load(component.name)(path, **component.settings)
    if adopted.classes != len(classes):
        raise RecipeError(
            f"teacher.weights: {path} has {adopted.classes} classes, the data have {len(classes)}",
            remedy="Use the data that the model was trained for.",
        )
    order = class_order(
        path,
        adopted.model,
        adopted.classes,
        classes,
        given=adopted.names or None,
        option="teacher.classes",
        way=NAME_THEM,
    )
    if order.is_other:
        reorder_classes(adopted.model, order.positions)
    if adopted.image_shape != shape:
        raise RecipeError(
            f"teacher.weights: {path} takes images of {list(adopted.image_shape)}, "
            f"the data has {list(shape)}",
            remedy="Set the data's image_size to the teacher's, or export the teacher for this size.",
        )
    at_once = adopted.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    if at_once > 1:
        raise RecipeError(
            f"teacher.weights: {path} takes exactly {at_once} images at once, so it cannot be "
            "timed on one image",
            remedy="Export it with an open number of images, or for one.",
        )
    return adopted, order


def run(job: Job) -> None:
    """Write model.onnx (uint8 images in, logits and probabilities out), model.json and history.jsonl."""
    params, prepared = OnnxTeacherParams.model_validate(job.params), Prepared.open(job.inputs["data"])
    path = Path(job.locations["weights"])
    with unchanged(f"teacher.weights: {path}", params.weights_sha256, partial(content_sha256, path)):
        adopted, _ = adopted_teacher(params.model, path, prepared.classes, prepared.image_shape)
    mean, std = (adopted.mean or (0.0,) * 3), (adopted.std or (1.0,) * 3)
    description = ModelDescription(
        name=params.model.name,
        settings=params.model.settings,
        classes=prepared.classes,
        image_shape=prepared.image_shape,
        mean=mean,
        std=std,
        trained_on=params.trained_on,
        input_note=prepared.notes["input_note"],
        license=prepared.notes["license"],
    )
    metadata = {
        "classes": json.dumps(prepared.classes),
        "input": "uint8 RGB, NCHW, normalised inside the file",
        "precision": "fp32",
        "calibration": "none",
    }
    set_metadata(adopted.model, metadata)
    onnx.save(adopted.model, job.out / CANONICAL)
    images = prepared.arrays("calibration", COMPARED)[0]
    insisted = params.model.settings.get("scores") == "logits"
    _check_answers(adopted, path, job.out / CANONICAL, images, insisted=insisted)
    (job.out / DESCRIPTION).write_text(description.model_dump_json(indent=1), encoding="utf-8")
    (job.out / HISTORY).write_text(json.dumps({"weights": params.weights_sha256}) + "\n")


def _check_answers(adopted: Adopted, path: Path, file: Path, images: ImageArray, *, insisted: bool) -> None:
    """Refuse a file whose answers nobody should learn from, before anybody does.

    Args:
        adopted: how it was read.
        path: of the user's file, for messages.
        file: the same in this package's form.
        images: a few of the data.
        insisted: whether the recipe says that its scores are logits.

    Raises:
        StageFailed: answers are not finite, depend on what else is in a batch, or are not what they were
            taken for.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    try:
        network = OnnxNet(file, torch.device("cpu"))
        together = network(tensor).numpy()
    except Exception as refused:  # onnxruntime's errors have no common class
        raise StageFailed(
            f"teacher.weights: {path} cannot be run by ONNX Runtime: {refused}",
            remedy="Export it again, or check it: calkd-edge lint FILE --target onnxruntime",
        ) from refused
    wrong = np.isnan(together) | (together == np.inf)  # minus infinity excludes a class
    if wrong.any():
        raise StageFailed(
            f"teacher.weights: {path} gives answers that are not finite, for "
            f"{int(wrong.any(axis=1).sum())} of {len(images)} images",
            remedy="The file or its normalisation (teacher.mean, teacher.std) is wrong: calkd-edge evaluate "
            "shows its accuracy.",
        )
    alone = np.concatenate([network(tensor[row : row + 1]).numpy() for row in range(len(images))])
    if not are_same(together, alone):
        raise StageFailed(
            f"teacher.weights: {path} answers an image otherwise alone than beside others: its scores depend "
            "on what else is in a batch",
            remedy="Export it in inference mode (model.eval()), or for one image at a time.",
        )
    where = f"teacher.weights: {path}"
    try:
        if adopted.scores_are == "probabilities":
            check_probabilities(together, where, per_cent="Divide them by 100 in the file.")
        elif adopted.scores_are == "logits":
            check_logits(
                together,
                where,
                insisted=insisted,
                remedy="Say so: --set teacher.scores=probabilities",
                per_cent="Divide them by 100 in the file, and say so: --set teacher.scores=probabilities",
            )
    except RecipeError as wrong_scores:
        raise StageFailed(as_keys(wrong_scores.message), remedy=as_keys(wrong_scores.remedy)) from None
