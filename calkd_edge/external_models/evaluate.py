"""Score any ONNX classifier on the test images of a data set, through the agent."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

from calkd_edge.data import DATASETS
from calkd_edge.data.prepare import prepare
from calkd_edge.data.prepared import Prepared
from calkd_edge.devices.session import open_session
from calkd_edge.errors import RecipeError
from calkd_edge.metrics import quality
from calkd_edge.onnx_model.adopt import Adopted, Triple, adopt, check_classes
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.sizes import images_at_once
from calkd_edge.records import Quality


def parse_triple(option: str, text: str | None) -> tuple[float, ...] | None:
    """Three numbers from "0.5,0.5,0.5".

    Raises:
        RecipeError: not three numbers.
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise RecipeError(f"{option} {text}: not three numbers", remedy=f"Write {option} 0.485,0.456,0.406")
    return values


def evaluate_file(
    path: Path,
    data: str,
    *,
    root: Path | None,
    images: int | None,
    layout: str | None,
    mean: Triple | None,
    std: Triple | None,
    seed: int,
    threads: int,
) -> Quality:
    """The quality of an ONNX file on a data set's test images (a fifth of all where it has no test part).

    Args:
        path: the file, ours or anybody's.
        data: a folder of class folders, or a registered data set's name.
        root: where a named data set lies.
        images: at most this many, chosen by `seed`.
        layout: of a foreign file's input, nchw or nhwc.
        mean: per channel, for a foreign float input.
        std: likewise.
        seed: of the choice of images.
        threads: of the runtime.

    Raises:
        RecipeError: the file or the data is not what is needed.
    """
    adopted = adopt(read_onnx(path), layout=layout, mean=mean, std=std)
    with tempfile.TemporaryDirectory(prefix="calkd-evaluate-") as folder:
        work = Path(folder)
        prepared = _test_images(data, root, adopted, images, seed, work)
        check_classes(adopted, prepared.classes, path)
        pixels, labels, _ = prepared.arrays("test", images, seed)
        np.save(work / "images.npy", pixels)
        onnx.save(adopted.model, work / "model.onnx")
        with open_session("local") as session:
            outputs, _ = session.predict(
                work / "model.onnx",
                work / "images.npy",
                runtime="onnxruntime",
                options={"threads": threads},
                images_per_run=images_at_once(adopted.model),
            )
    return quality(np.asarray(outputs["logits"], dtype=np.float32), labels, seed=seed)


def _test_images(
    data: str, root: Path | None, adopted: Adopted, images: int | None, seed: int, work: Path
) -> Prepared:
    """The test split, decoded at the model's size; nothing else is decoded."""
    where = "--data"
    if Path(data).is_dir():
        settings = DATASETS.settings("image_folder", {"image_size": adopted.image_shape[1]}, where=where)
        dataset = DATASETS.load("image_folder")(Path(data), **settings)
    else:
        settings = DATASETS.settings(data, {}, where=where)
        dataset = DATASETS.load(data, where=where)(root, **settings)
    source = dataset.open(work, lambda done, total: None)
    if source.image_shape != adopted.image_shape:
        raise RecipeError(
            f"the model takes images of {adopted.image_shape}, the data set has {source.image_shape}",
            remedy="Evaluate on data of the model's size, or on a folder of images, which are resized.",
        )
    out = work / "prepared"
    out.mkdir()
    # Splits want some images to train and calibrate on; as few as that needs are decoded beside the test
    # images.
    few = len(source.classes)
    prepare(
        source,
        out,
        seed=seed,
        calibration_images=few,
        train_images=few,
        test_images=images,
        drop_duplicates=False,
        broken="refuse",
        progress=lambda done, total: None,
    )
    return Prepared.open(out)
