"""Run a classifier of any make on what it is given, and keep its logits and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from calkd_edge.devices.session import open_session
from calkd_edge.export.adopt import Triple, adopt
from calkd_edge.export.outputs import adopt_outputs
from calkd_edge.records import Predictions
from calkd_edge.repair import inputs


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
        return runnable, inputs.arrays(Path(data), work, limit=limit, seed=seed)
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


def predicted(runnable: onnx.ModelProto, given: inputs.Inputs, work: Path, threads: int) -> Predictions:
    """What the file says of every input, through the agent on this machine."""
    path = work / "runnable.onnx"
    onnx.save(runnable, path)
    with open_session("local") as session:
        outputs, _ = session.predict(path, given.path, runtime="onnxruntime", options={"threads": threads})
    logits = np.asarray(outputs["logits"], dtype=np.float32)
    count = len(logits)
    labels = given.labels if given.labels is not None else np.zeros(count, dtype=np.int64)
    probabilities = np.asarray(outputs["probabilities"], dtype=np.float32)
    return Predictions(logits, labels, np.arange(count, dtype=np.int64), probabilities)
