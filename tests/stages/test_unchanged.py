"""What was identified when the run was planned is read later: where it changed meanwhile, the stage stops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from calkd_edge.data import prepare as preparing
from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.loose_images import LooseImages
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.models import image_model
from calkd_edge.models.image_model import ModelDescription
from calkd_edge.records import Component
from calkd_edge.stages import onnx_teacher, prepare, prepare_unknown
from calkd_edge.stages.params import OnnxTeacherParams, PrepareParams, PrepareUnknownParams, SplitParams
from calkd_edge.stages.start import start_of

SETTINGS = {"image_size": 16, "resize": "crop"}
SPLITS = {
    "seed": 0,
    "calibration_images": 4,
    "train_images": None,
    "test_images": 4,
    "drop_duplicates": False,
    "broken": "refuse",
}


def add(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for number in range(24):
        add(tmp_path / "data" / "ab"[number % 2] / f"{number:02}.png", number)
    return tmp_path / "data"


def job_of(params, tmp_path, inputs=None, **locations):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return Job(params.plain(), locations, inputs or {}, out, out, lambda done, total: None)


def preparation(root, tmp_path):
    params = PrepareParams(
        dataset="image_folder",
        settings=SETTINGS,
        identity=ImageFolder(root, **SETTINGS).identity(),
        splits=SplitParams(**SPLITS),
    )
    return job_of(params, tmp_path, root=str(root))


def test_data_that_change_between_plan_and_preparation_are_refused(root, tmp_path):
    job = preparation(root, tmp_path)
    add(root / "b" / "new.png", 100)
    with pytest.raises(
        StageFailed, match="data: the data set image_folder in .* changed since the plan"
    ) as no:
        prepare.run(job)
    assert "Run again" in no.value.remedy
    assert not list(job.out.iterdir()), "before anything is decoded"
    (root / "b" / "new.png").unlink()
    prepare.run(job)
    assert len(Prepared.open(job.out).labels) == 24


def test_data_that_change_while_they_are_prepared_are_refused(root, tmp_path, monkeypatch):
    job = preparation(root, tmp_path)

    def prepare_and_add(*arguments, **named):
        preparing.prepare(*arguments, **named)
        add(root / "a" / "00.png", 100)

    monkeypatch.setattr(prepare, "prepare", prepare_and_add)
    with pytest.raises(StageFailed, match="changed since the plan"):
        prepare.run(job)


def test_unknown_images_that_change_are_refused(root, tmp_path):
    prepare.run(preparation(root, tmp_path))
    for number in range(30):
        add(tmp_path / "loose" / f"{number}.png", 200 + number)
    params = PrepareUnknownParams(
        dataset="loose_images",
        settings=SETTINGS,
        identity=LooseImages(tmp_path / "loose", **SETTINGS).identity(),
        images=30,
        seed=0,
    )
    (tmp_path / "unknown").mkdir()
    inputs = {"data": tmp_path / "out"}
    job = job_of(params, tmp_path / "unknown", inputs, root=str(tmp_path / "loose"))
    prepare_unknown.run(job)
    add(tmp_path / "loose" / "7.png", 300)
    with pytest.raises(StageFailed, match=r"evaluate\.unknown: .* changed since the plan"):
        prepare_unknown.run(job)


@pytest.mark.parametrize("key", ["weights", "pretrained"])
def test_weights_of_another_content_than_planned_are_refused(tmp_path, key):
    described = ModelDescription(
        name="resnet8",
        settings={"width": 0.5},
        classes=("a", "b"),
        image_shape=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        trained_on="train",
    )
    image_model.save(image_model.build(described), described, tmp_path)
    path = tmp_path / "weights.safetensors"
    hashes = {"weights_sha256": None, "pretrained": None}
    hashes["weights_sha256" if key == "weights" else key] = "0" * 64
    normalised = {"mean": described.mean, "std": described.std}
    params = SimpleNamespace(**hashes, **normalised, trained_on="train", head_scale=1.0, beside=None)
    prepared = SimpleNamespace(
        classes=described.classes,
        image_shape=described.image_shape,
        notes={"input_note": "", "license": ""},
        mean_std=lambda images: (np.full(3, 0.5), np.full(3, 0.5)),
        indices=lambda split: np.arange(4),
    )
    component = Component(name=described.name, settings=described.settings)
    job = SimpleNamespace(locations={key: str(path)})
    with pytest.raises(StageFailed, match=rf"student\.{key}: .*weights\.safetensors changed since the plan"):
        start_of(job, params, component, 0, prepared, where="student")


def test_an_onnx_teacher_of_another_content_than_planned_is_refused(root, tmp_path):
    prepare.run(preparation(root, tmp_path))
    graph = helper.make_graph([], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [])
    onnx.save(helper.make_model(graph), tmp_path / "teacher.onnx")
    params = OnnxTeacherParams(
        model=Component(name="onnx", settings={}), weights_sha256="0" * 64, trained_on="train"
    )
    job = job_of(params, tmp_path, {"data": tmp_path / "out"}, weights=str(tmp_path / "teacher.onnx"))
    with pytest.raises(StageFailed, match=r"teacher\.onnx changed since the plan"):
        onnx_teacher.run(job)
