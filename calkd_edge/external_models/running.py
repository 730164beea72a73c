"""Run a classifier of any maker on its inputs, and keep its logits and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from calkd_edge.devices.session import open_session
from calkd_edge.external_models.inputs import Inputs, arrays_of, check_fit, images_of
from calkd_edge.onnx_model.adopt import Triple, adopt, adopt_inputs
from calkd_edge.onnx_model.outputs import adopt_outputs, with_tensors_only
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.records import FloatArray, Predictions


@dataclass(frozen=True)
class Reading:
    """How to read a file, as far as the file does not say.

    Attributes:
        layout: nchw or nhwc.
        mean: per channel, as a fraction of 255.
        std: likewise.
        output: name of the output of scores.
        scores: what that output is, if no softmax makes it.
    """

    layout: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    output: str | None = None
    scores: Literal["logits", "probabilities"] | None = None


def read_inputs(
    loaded: onnx.ModelProto,
    data: str | Path,
    root: str | Path | None,
    reading: Reading,
    work: Path,
    limit: int | None,
    seed: int,
) -> tuple[onnx.ModelProto, Inputs]:
    """The file with the outputs logits and probabilities, and its inputs."""
    runnable, shape = runnable_file(loaded, data, reading)
    if shape is None:
        inputs = arrays_of(Path(data), work, limit=limit, seed=seed)
        check_fit(inputs, runnable)
        return runnable, inputs
    return runnable, images_of(data, root, shape, work, limit=limit, seed=seed)


def runnable_file(
    loaded: onnx.ModelProto, data: str | Path, reading: Reading
) -> tuple[onnx.ModelProto, tuple[int, int, int] | None]:
    """The file with the outputs logits and probabilities, and the shape of its images; None for arrays.

    Images go through the file's normalisation, arrays go in unchanged.
    """
    if Path(data).suffix == ".npz":
        return adopt_outputs(loaded, output=reading.output, scores=reading.scores), None
    adopted = adopt(
        loaded,
        layout=reading.layout,
        mean=reading.mean,
        std=reading.std,
        output=reading.output,
        scores=reading.scores,
    )
    return adopted.model, adopted.image_shape


def with_original_outputs(loaded: onnx.ModelProto, data: str | Path, reading: Reading) -> onnx.ModelProto:
    """The file with its original outputs; images go through its normalisation."""
    loaded = with_tensors_only(loaded)
    if Path(data).suffix == ".npz":
        return loaded
    return adopt_inputs(loaded, layout=reading.layout, mean=reading.mean, std=reading.std)[0]


def predictions_of(runnable: onnx.ModelProto, inputs: Inputs, work: Path, threads: int) -> Predictions:
    """Predictions for every input, through the agent on this machine.

    A file with a fixed number of inputs gets that number; the last run repeats its last input.
    """
    outputs = run_file(runnable, inputs, work, threads)
    logits = np.asarray(outputs["logits"], dtype=np.float32)
    count = len(logits)
    labels = inputs.labels if inputs.labels is not None else np.zeros(count, dtype=np.int64)
    probabilities = np.asarray(outputs["probabilities"], dtype=np.float32)
    return Predictions(logits, labels, np.arange(count, dtype=np.int64), probabilities)


def run_file(model: onnx.ModelProto, inputs: Inputs, work: Path, threads: int) -> dict[str, FloatArray]:
    """Every output of a file by name, one row for each input."""
    path = work / "runnable.onnx"
    onnx.save(model, path)
    with open_session("local") as session:
        outputs, _ = session.predict(
            path,
            inputs.path,
            runtime="onnxruntime",
            options={"threads": threads},
            images_per_run=images_at_once(model),
        )
    return outputs
