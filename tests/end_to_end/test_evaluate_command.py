"""`calkd-edge evaluate`: our own exports as in the report, and files of others, told apart by their graph."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from tiny_run import command
from torch import nn

from calkd_edge.models.onnx_net import OnnxNet
from calkd_edge.onnx_model.adopt import adopted_file

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NORMALISED = ("--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3")


class Plain(nn.Module):
    """A small CNN as others write them: float images, channels last, softmax inside."""

    def __init__(self, classes: int, softmaxes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
        self.head = nn.Linear(16, classes)
        self.softmaxes = softmaxes

    def logits(self, images):
        """Before any softmax, for [N, H, W, 3]."""
        return self.head(self.body(images.permute(0, 3, 1, 2)).mean((2, 3)))

    def forward(self, images):
        """After every softmax."""
        scores = self.logits(images)
        for _ in range(self.softmaxes):
            scores = scores.softmax(-1)
        return scores


def exported(model: nn.Module, path, *, fixed: int | None = None) -> None:
    torch.onnx.export(
        model.eval(),
        (torch.zeros(fixed or 2, 32, 32, 3),),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=None if fixed else ({0: torch.export.Dim("batch")},),
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """plain(softmaxes) -> the model and its file."""
    made = {}

    def make(softmaxes: int, classes: int = 10):
        key = (softmaxes, classes)
        if key not in made:
            torch.manual_seed(3)
            model = Plain(classes, softmaxes)
            with torch.no_grad():
                model.head.weight *= 20  # so that confidences spread
            path = tmp_path_factory.mktemp("plain") / "plain.onnx"
            exported(model, path)
            made[key] = model, path
        return made[key]

    return make


@pytest.fixture(scope="session")
def test_images(tiny):
    """The synthetic test images and labels, as the run prepared them."""
    prepared = next(line["fingerprint"] for line in tiny.report["plan"] if line["stage"] == "prepare")
    folder = tiny.store / "objects" / prepared[:2] / prepared
    test = json.loads((folder / "splits.json").read_text())["test"]
    return np.load(folder / "images.npy")[test], np.load(folder / "labels.npy")[test]


def quality_of(path, *arguments):
    done = command("evaluate", path, "--data", "synthetic", "--json", *arguments)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(
    ("precision", "file"), [("fp32", "student.fp32.onnx"), ("int8", "student.int8.cpu.onnx")]
)
def test_our_own_export_scores_as_in_the_report(tiny, precision, file):
    found = quality_of(tiny.out / "models" / file)
    row = next(
        m
        for m in tiny.report["measurements"]
        if (m["model"], m["precision"], m["calibrated"]) == ("student", precision, True)
    )
    assert found["images"] == row["images"]
    for metric in ("top1", "top5", "nll", "brier", "ece"):
        assert found[metric] == pytest.approx(row["quality"][metric], abs=1e-9)


@pytest.mark.parametrize("softmaxes", [0, 1, 2], ids=["logits", "softmax", "softmax twice"])
def test_foreign_file_is_scored_by_the_confidence_it_ships(plain, test_images, softmaxes):
    model, path = plain(softmaxes)
    images, labels = test_images
    scaled = (images.transpose(0, 2, 3, 1) / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        shipped = model(torch.tensor(scaled, dtype=torch.float32))
    probabilities = (shipped if softmaxes else shipped.softmax(-1)).double().numpy()
    own = probabilities[np.arange(len(labels)), labels]
    found = quality_of(path, *NORMALISED)
    assert found["top1"]["value"] == pytest.approx((probabilities.argmax(1) == labels).mean(), abs=1e-9)
    assert found["nll"]["value"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert found["mean_confidence"] == pytest.approx(probabilities.max(1).mean(), rel=1e-4)


@pytest.mark.parametrize("fixed", [1, 7])
def test_a_file_that_takes_a_fixed_number_of_images_scores_the_same(plain, tmp_path, fixed):
    model, path = plain(1)
    exported(model, tmp_path / "fixed.onnx", fixed=fixed)
    wanted, found = (quality_of(one, *NORMALISED) for one in (path, tmp_path / "fixed.onnx"))
    assert found["images"] == wanted["images"]
    assert found["nll"]["value"] == pytest.approx(wanted["nll"]["value"], rel=1e-6)
    assert found["top1"] == wanted["top1"]


def test_such_a_file_teaches(plain, tmp_path):
    model, _ = plain(0)
    exported(model, tmp_path / "fixed.onnx", fixed=3)
    adopted = adopted_file(tmp_path / "fixed.onnx", mean=MEAN, std=STD)
    onnx.save(adopted.model, tmp_path / "adopted.onnx")
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8))
    scaled = (images.permute(0, 2, 3, 1) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        wanted = model(scaled)
    torch.testing.assert_close(
        OnnxNet(tmp_path / "adopted.onnx", torch.device("cpu"))(images), wanted, rtol=1e-4, atol=1e-4
    )


def test_scores_are_printed_for_people_with_their_bounds(tiny):
    done = command(
        "evaluate", tiny.out / "models" / "student.fp32.onnx", "--data", "synthetic", "--images", 50
    )
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()][:5] == ["top1", "top5", "nll", "brier", "ece"]
    assert "50 test images of synthetic" in done.out


def refused(*arguments) -> str:
    done = command("evaluate", *arguments)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    return done.err


def test_float_input_without_its_normalisation_is_refused(plain):
    said = refused(plain(1)[1], "--data", "synthetic")
    assert "--mean" in said
    assert "--std" in said


def test_mean_that_is_not_three_numbers_is_refused(plain):
    assert "--mean" in refused(plain(1)[1], "--data", "synthetic", "--mean", "0.5", "--std", "1,1,1")


def test_std_that_divides_by_zero_is_refused(plain):
    assert "--std" in refused(plain(1)[1], "--data", "synthetic", "--mean", "0,0,0", "--std", "1,0,1")


def test_another_number_of_classes_is_refused_with_both(plain):
    said = refused(plain(1, 7)[1], "--data", "synthetic", *NORMALISED)
    assert "7 classes" in said
    assert "10" in said


@pytest.mark.parametrize("content", [b"", b"garbage that is no protobuf", b"\x00" * 100])
def test_file_that_is_no_onnx_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert str(path) in refused(path, "--data", "synthetic")


def test_missing_file_and_unknown_data_are_refused(plain, tmp_path):
    assert "there is no file" in refused(tmp_path / "none.onnx", "--data", "synthetic")
    assert "'synthetic'" in refused(plain(1)[1], "--data", "synthetik", *NORMALISED)


def test_wrong_layout_is_refused(plain):
    assert "--layout" in refused(plain(1)[1], "--data", "synthetic", "--layout", "hwcn", *NORMALISED)


def test_layout_that_the_shape_contradicts_is_refused(plain):
    said = refused(plain(1)[1], "--data", "synthetic", "--layout", "nchw", *NORMALISED)
    assert "nhwc" in said


def test_two_outputs_of_scores_are_refused_by_name(tiny, tmp_path):
    model = onnx.load(tiny.out / "models" / "student.fp32.onnx")
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == "logits":
                node.output[place] = "one"
        for place, name in enumerate(node.input):
            if name == "logits":
                node.input[place] = "one"
    for output in model.graph.output:
        output.name = {"logits": "one"}.get(output.name, output.name)
    onnx.save(model, tmp_path / "two.onnx")
    assert "one [batch, 10], probabilities" in refused(tmp_path / "two.onnx", "--data", "synthetic")
