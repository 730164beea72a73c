"""teacher, when it is an ONNX file: the file with this package's inputs and outputs, and its description."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from calkd_edge.data.prepared import Prepared
from calkd_edge.data.source import ImageShape
from calkd_edge.engine.stage import Job
from calkd_edge.errors import RecipeError
from calkd_edge.export import TEACHER_FILES
from calkd_edge.export.artifacts import CANONICAL, HISTORY
from calkd_edge.models.image_model import DESCRIPTION, ModelDescription
from calkd_edge.onnx_model.adopt import Adopted, check_classes
from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.records import Component
from calkd_edge.stages.params import OnnxTeacherParams


def adopted_teacher(component: Component, path: Path, classes: tuple[str, ...], shape: ImageShape) -> Adopted:
    """The file in this package's form.

    Args:
        component: the kind of file, with its settings.
        path: of the file.
        classes: of the data.
        shape: (3, H, W) of the data.

    Raises:
        RecipeError: it is no classifier of these classes and images, or cannot run one image at a time.
    """
    adopted: Adopted = TEACHER_FILES.load(component.name)(path, **component.settings)
    check_classes(adopted, classes, path)
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
    return adopted


def run(job: Job) -> None:
    """Write model.onnx (uint8 images in, logits and probabilities out), model.json and history.jsonl."""
    params, prepared = OnnxTeacherParams.model_validate(job.params), Prepared.open(job.inputs["data"])
    path = Path(job.locations["weights"])
    adopted = adopted_teacher(params.model, path, prepared.classes, prepared.image_shape)
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
    (job.out / DESCRIPTION).write_text(description.model_dump_json(indent=1), encoding="utf-8")
    (job.out / HISTORY).write_text(json.dumps({"weights": params.weights_sha256}) + "\n")
