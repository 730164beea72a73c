"""evaluate and calibrate read the same images, and neither loads torch for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calkd_edge.external_models.calibrate import calibrate
from calkd_edge.external_models.evaluate import evaluate

NORMALISATION = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A float classifier of another maker: it compares the mean of red with that of green."""
    weight = numpy_helper.from_array(np.array([[1, -1, 0], [-1, 1, 0]], np.float32), "weight")
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["shares"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 16, 16])
    shares = helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "classifier", [pixels], [shares], [weight])
    path = tmp_path_factory.mktemp("classifier") / "classifier.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def class_folders(root, count, seed):
    """Images of two classes, a few of each on the wrong side."""
    draw = np.random.default_rng(seed)
    for label, name in enumerate(("green", "red")):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 200, (16, 16, 3), dtype=np.uint8)
            pixels[..., 1 - label if draw.random() < 0.9 else label] |= 128
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module", params=["class folders", "with a test part"])
def images(request, tmp_path_factory):
    """(folder, how many of its images count, and how the result names them)."""
    root = tmp_path_factory.mktemp("images") / "own"
    if request.param == "class folders":
        return class_folders(root, 20, 1), 40, "40 images of own"
    class_folders(root / "train", 25, 2)
    class_folders(root / "test", 10, 3)
    return root, 20, "20 test images of own"


def test_one_folder_has_one_answer(classifier, images):
    folder, count, description = images
    evaluated = evaluate(classifier, folder, **NORMALISATION)
    calibrated = calibrate(classifier, folder, **NORMALISATION)
    assert evaluated.images == calibrated.images == count
    assert evaluated.data == calibrated.data == description
    assert evaluated.top1 == calibrated.before.top1
    assert evaluated.nll.value == pytest.approx(calibrated.before.nll.value, rel=1e-6)


def test_a_limit_chooses_the_same_images(classifier, images):
    folder, _, _ = images
    evaluated = evaluate(classifier, folder, images=15, **NORMALISATION)
    calibrated = calibrate(classifier, folder, images=15, **NORMALISATION)
    assert evaluated.images == calibrated.images == 15
    assert evaluated.nll.value == pytest.approx(calibrated.before.nll.value, rel=1e-6)


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_a_file_is_judged_without_torch(classifier, images, command, tmp_path):
    folder, _, _ = images
    model = [str(classifier)] if command == "evaluate" else ["--model", str(classifier)]
    arguments = [command, *model, "--data", str(folder), "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    code = (
        "import json, sys\n"
        "from calkd_edge.cli.app import main\n"
        "code = main(json.loads(sys.argv[1]))\n"
        "print([name for name in ('torch', 'torchvision', 'lightning_fabric') if name in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*arguments, "--json"])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def beginnings(found):
    return [caution for caution in found.cautions if "the file begins with" in caution]


@pytest.mark.parametrize(("operator", "number"), [("Div", 255.0), ("Mul", 1 / 255), ("Sub", 127.5)])
def test_a_file_that_normalises_pixels_itself_is_pointed_out_and_the_remedy_works(
    classifier, operator, number, tmp_path
):
    file = onnx.load(classifier)
    file.graph.node[0].input[0] = "scaled"
    constant = helper.make_node("Constant", [], ["number"], value=numpy_helper.from_array(np.float32(number)))
    file.graph.node.insert(0, helper.make_node(operator, ["pixels", "number"], ["scaled"]))
    file.graph.node.insert(0, constant)
    onnx.save(file, tmp_path / "own.onnx")
    folder = class_folders(tmp_path / "own", 10, 1)
    (caution,) = beginnings(evaluate(tmp_path / "own.onnx", folder, **NORMALISATION))
    mean, std = (
        tuple(map(float, re.search(f"{option} ([0-9.,]+[0-9])", caution)[1].split(",")))
        for option in ("--mean", "--std")
    )
    found = evaluate(tmp_path / "own.onnx", folder, mean=mean, std=std)
    assert beginnings(found) == []
    assert f"{operator} with {number:.6g}" in caution
    if operator != "Sub":
        plain = evaluate(classifier, folder, mean=(0, 0, 0), std=(1, 1, 1))
        assert found.nll.value == pytest.approx(plain.nll.value, rel=1e-4)
