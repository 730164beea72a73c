"""Run a classifier of any make on what it is given, and keep its logits and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from calkd_edge.devices.session import open_session
from calkd_edge.external_models import inputs
from calkd_edge.onnx_model.adopt import Triple, adopt, adopt_inputs
from calkd_edge.onnx_model.outputs import adopt_outputs, with_tensors_only
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.records import FloatArray, Predictions


@dataclass(frozen=True)
class Reading:
    """How a file of any make is to be read, where it does not say.

    Attributes:
        layout: nchw or nhwc.
        mean: per channel, as a fraction of 255.
        std: likewise.
        output: name of the output of scores.
        scores: what that output is, where it is no softmax.
    """

    layout: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    output: str | None = None
    scores: Literal["logits", "probabilities"] | None = None


def given_inputs(
    loaded: onnx.ModelProto,
    data: str,
    root: Path | None,
    reading: Reading,
    work: Path,
    limit: int | None,
    seed: int,
) -> tuple[onnx.ModelProto, inputs.Inputs]:
    """The file with outputs logits and probabilities, and what to ask it."""
    runnable, shape = runnable_file(loaded, data, reading)
    if shape is None:
        given = inputs.arrays(Path(data), work, limit=limit, seed=seed)
        inputs.check_fit(given, runnable)
        return runnable, given
    return runnable, inputs.images(data, root, shape, work, limit=limit, seed=seed)


def runnable_file(
    loaded: onnx.ModelProto, data: str, reading: Reading
) -> tuple[onnx.ModelProto, tuple[int, int, int] | None]:
    """Arrays go in as they are; images by way of the file's own normalisation. The shape is of images."""
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


def as_given(loaded: onnx.ModelProto, data: str, reading: Reading) -> onnx.ModelProto:
    """The file with its own outputs; images still go in by way of its normalisation."""
    loaded = with_tensors_only(loaded)
    if Path(data).suffix == ".npz":
        return loaded
    return adopt_inputs(loaded, layout=reading.layout, mean=reading.mean, std=reading.std)[0]


def predicted(runnable: onnx.ModelProto, given: inputs.Inputs, work: Path, threads: int) -> Predictions:
    """What the file says of every input, through the agent on this machine.

    A file that takes a fixed number at a time is asked so; the last run is filled up with its last input.
    """
    outputs = run_file(runnable, given, work, threads)
    logits = np.asarray(outputs["logits"], dtype=np.float32)
    count = len(logits)
    labels = given.labels if given.labels is not None else np.zeros(count, dtype=np.int64)
    probabilities = np.asarray(outputs["probabilities"], dtype=np.float32)
    return Predictions(logits, labels, np.arange(count, dtype=np.int64), probabilities)


def run_file(model: onnx.ModelProto, given: inputs.Inputs, work: Path, threads: int) -> dict[str, FloatArray]:
    """Every output of a file by name, one row for each input."""
    path = work / "runnable.onnx"
    onnx.save(model, path)
    with open_session("local") as session:
        outputs, _ = session.predict(
            path,
            given.path,
            runtime="onnxruntime",
            options={"threads": threads},
            images_per_run=images_at_once(model),
        )
    return outputs
