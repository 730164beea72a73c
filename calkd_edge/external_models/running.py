"""Run a classifier of any maker on its inputs, and keep its logits and probabilities."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from calkd_edge.devices.session import Session, open_session
from calkd_edge.errors import DeviceError, RecipeError, StageFailed
from calkd_edge.external_models.inputs import Inputs
from calkd_edge.onnx_model.adopt import Adopted, adopt
from calkd_edge.onnx_model.graph import GraphView
from calkd_edge.onnx_model.image_input import adopt_inputs
from calkd_edge.onnx_model.outputs import adopt_outputs, single_input, with_tensors_only
from calkd_edge.onnx_model.reading import Reading
from calkd_edge.onnx_model.score_values import are_same
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.onnx_model.validity import has_loop
from calkd_edge.records import FloatArray, Predictions

RUN_FILE = "runnable.onnx"
COMPARED = 16
"""Images that are also run one at a time."""

LARGEST_BATCH_BYTES = 2**29
"""Of the images that a file with a fixed number of them takes at once."""

FIRST_IMAGE_S = 120.0
"""For one image through a file that may loop without an end."""

LARGEST_INSIDE = 256
"""Images: larger first sizes of a Reshape are no batches."""

TRIED_INSIDE = 3


class Batches(NamedTuple):
    """How many images a file gets at once.

    Attributes:
        images_per_run: for every further run of the file.
        description: and how that was determined.
        caution: where the scores depend on what else is in a batch, and that cannot be avoided.
    """

    images_per_run: int
    description: str
    caution: str | None = None


def takes_arrays(data: str | Path) -> bool:
    """Whether the data are arrays exactly as the file takes them, not images."""
    return Path(data).suffix == ".npz"


def runnable_file(
    loaded: onnx.ModelProto, data: str | Path, reading: Reading
) -> tuple[onnx.ModelProto, Adopted | None]:
    """The file with the outputs logits and probabilities, and how it takes images; None for arrays.

    Images go through the file's normalisation, arrays go in unchanged.
    """
    if takes_arrays(data):
        return adopt_outputs(loaded, output=reading.output, scores=reading.scores), None
    adopted = adopt(loaded, reading)
    return adopted.model, adopted


def with_original_outputs(loaded: onnx.ModelProto, data: str | Path, reading: Reading) -> onnx.ModelProto:
    """The file with its original outputs; images go through its normalisation."""
    loaded = with_tensors_only(loaded)
    return loaded if takes_arrays(data) else adopt_inputs(loaded, reading).model


def predictions_of(
    runnable: onnx.ModelProto, inputs: Inputs, work: Path, threads: int, images_per_run: int | None = None
) -> tuple[Predictions, Batches]:
    """Predictions for every input, through the agent on this machine, and how many inputs it got at once.

    A file with a fixed number of inputs gets that number; the last run repeats its last input. Any other gets
    `images_per_run` inputs; by default as many as fit, or one, if its results depend on the others.
    """
    if images_per_run is None:
        outputs, batches = _run_compared(runnable, inputs, work, threads)
    else:
        batches = Batches(images_per_run, "")
        outputs = run_file(runnable, inputs, work, threads, images_per_run)
    logits = np.asarray(outputs["logits"], dtype=np.float32)
    count = len(logits)
    labels = inputs.labels if inputs.labels is not None else np.zeros(count, dtype=np.int64)
    probabilities = np.asarray(outputs["probabilities"], dtype=np.float32)
    return Predictions(logits, labels, np.arange(count, dtype=np.int64), probabilities), batches


def first_predictions(
    loaded: onnx.ModelProto, runnable: onnx.ModelProto, inputs: Inputs, work: Path, threads: int
) -> tuple[Predictions, Batches]:
    """`predictions_of`, also of a file that declares an open number of inputs and takes a fixed one.

    Such a number stands in the stored shape of a Reshape; both models declare it if the file runs with it.

    Raises:
        DeviceError: the runtime refuses the file with any number.
    """
    try:
        return predictions_of(runnable, inputs, work, threads)
    except DeviceError as refused:
        for size in _sizes_inside(runnable):
            for model in (loaded, runnable):
                single_input(model.graph).type.tensor_type.shape.dim[0].dim_value = size
            try:
                predictions, batches = predictions_of(runnable, inputs, work, threads)
            except DeviceError:
                continue
            why = f"{size} images at a time: a Reshape inside the file fixes that number"
            return predictions, batches._replace(description=why)
        raise refused


def _sizes_inside(model: onnx.ModelProto) -> list[int]:
    """Numbers of inputs that a Reshape may fix in a file whose input leaves it open; a few at most."""
    view = GraphView.of(model)
    if single_input(model.graph).type.tensor_type.shape.dim[0].dim_value:
        return []
    shapes = [
        view.array(node.input[1]).reshape(-1)
        for node in model.graph.node
        if node.op_type == "Reshape" and node.input[1] in view.initializers
    ]
    firsts = [int(shape[0]) for shape in shapes if len(shape) and 1 < shape[0] <= LARGEST_INSIDE]
    return list(dict.fromkeys(firsts))[:TRIED_INSIDE]


def run_file(
    model: onnx.ModelProto, inputs: Inputs, work: Path, threads: int, images_per_run: int
) -> dict[str, FloatArray]:
    """Every output of a file by name, one row for each input."""
    path = work / RUN_FILE
    onnx.save(model, path)
    with open_session("local") as session:
        return _predict(session, path, inputs.path, threads, images_per_run)


def _run_compared(
    model: onnx.ModelProto, inputs: Inputs, work: Path, threads: int
) -> tuple[dict[str, FloatArray], Batches]:
    """Every output, and the batch size: some inputs are run alone too, and must give the same."""
    path = work / RUN_FILE
    onnx.save(model, path)
    stored = {tensor.name for tensor in model.graph.initializer}
    only = next(value for value in model.graph.input if value.name not in stored)
    fixed, at_once = only.type.tensor_type.shape.dim[0].dim_value, images_at_once(model)
    arrays = np.load(inputs.path, mmap_mode="r")
    rows = np.unique(np.linspace(0, len(arrays) - 1, COMPARED).astype(np.int64))
    with open_session("local") as session:
        if has_loop(model):
            _check_end(session, path, arrays, work, threads)
        if fixed == 1 or (at_once == 1 and not fixed):
            why = "the file takes one" if fixed == 1 else "more would not fit into memory"
            outputs = _predict(session, path, inputs.path, threads, 1)
            return outputs, Batches(1, f"one image at a time: {why}")
        copies = max(1, fixed)
        _check_batch(arrays[:1].nbytes, copies)
        rows = rows[: max(1, LARGEST_BATCH_BYTES // (copies * arrays[:1].nbytes))]
        np.save(work / "alone.npy", np.repeat(arrays[rows], copies, axis=0))
        failure = None
        try:
            outputs = _predict(session, path, inputs.path, threads, at_once)
        except DeviceError as failed:
            if fixed:
                raise
            failure = failed
        try:
            alone = _predict(session, path, work / "alone.npy", threads, 1)["logits"][::copies]
        except DeviceError as failed:
            raise failure or failed from failed
        if failure is None and are_same(outputs["logits"][rows], alone):
            size = fixed or min(at_once, len(arrays))
            return outputs, Batches(at_once, f"{size} images at a time; {len(rows)} run alone gave the same")
        if fixed:
            caution = (
                "the scores of an image depend on the others in its batch, and the file takes exactly "
                f"{fixed} images: the figures hold for these images in this order alone. Export it in "
                "inference mode, for one image."
            )
            return outputs, Batches(at_once, f"{fixed} images at a time, as the file fixes it", caution)
        why = "the file fails with more" if failure else "its scores depend on what else is in the batch"
        outputs = _predict(session, path, inputs.path, threads, 1)
        return outputs, Batches(1, f"one image at a time, as on a device: {why}")


def _check_batch(image_bytes: int, images: int) -> None:
    """Refuse a fixed number of images that no batch of here has."""
    if image_bytes * images > LARGEST_BATCH_BYTES:
        raise RecipeError(
            f"the file takes exactly {images:,} images at once, which have {image_bytes * images:,} bytes; "
            f"{LARGEST_BATCH_BYTES:,} are the most",
            remedy="Export it for one image, or for an open number of them.",
        )


def _check_end(session: Session, model: Path, images: NDArray[Any], work: Path, threads: int) -> None:
    """Refuse a file that does not come to the end of one image; other refusals are left to later runs."""
    np.save(work / "first.npy", images[:1])
    begun = time.monotonic()
    try:
        _predict(session, model, work / "first.npy", threads, 1, timeout_s=FIRST_IMAGE_S)
    except DeviceError as refused:
        if time.monotonic() - begun >= FIRST_IMAGE_S:
            raise StageFailed(
                f"the file did not come to an end of its first run within {FIRST_IMAGE_S:.0f} s; "
                "it has a Loop, which may have no end",
                remedy="Check the condition of its Loop, or export it without one.",
            ) from refused


def _predict(
    session: Session,
    model: Path,
    images: Path,
    threads: int,
    images_per_run: int,
    timeout_s: float | None = None,
) -> dict[str, FloatArray]:
    outputs, _ = session.predict(
        model,
        images,
        runtime="onnxruntime",
        options={"threads": threads},
        images_per_run=images_per_run,
        timeout_s=timeout_s,
    )
    return outputs
