"""Files that no run comes to an end of, or none begins with: exit 2 or 7, and the cause in the message."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from foreign_files import BODY, FLOAT, NODE, SCORES, file, write_images
from onnx import TensorProto, helper
from tiny_run import command

from calkd_edge.data.pixels import RESIZE_NOTES
from calkd_edge.errors import StageFailed
from calkd_edge.external_models import running
from calkd_edge.external_models.evaluate import evaluate

ON_THE_LINE = ("--mean", "0.5,0.4,0.6", "--std", "0.25,0.2,0.5")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("refused") / "images", count=4)


def plain(**changes):
    return file(BODY, {"z": SCORES}, **changes)


def without_opset():
    model = plain()
    del model.opset_import[:]
    return model


def of_a_domain():
    nodes = [NODE("Strange", ["x"], ["s"], domain="own"), NODE("GlobalAveragePool", ["s"], ["pooled"])]
    return file([*nodes, *BODY[1:]], {"z": SCORES}, domains=("own",))


def calling_itself():
    model = file([NODE("Again", ["x"], ["s"], domain="own"), *BODY], {"z": SCORES}, domains=("own",))
    inner = NODE("Again", ["a"], ["b"], domain="own")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Again", ["a"], ["b"], [inner], opsets))
    return model


def without_location():
    model = plain()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    return model


def endless():
    """A loop whose condition stays true and whose count is the largest."""
    names = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x_in", FLOAT, None),
    ]
    outs = [
        helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x_out", FLOAT, None),
    ]
    body = helper.make_graph(
        [NODE("Identity", ["on"], ["on_out"]), NODE("Neg", ["x_in"], ["x_out"])], "body", names, outs
    )
    loop = NODE("Loop", ["many", "yes", "x"], ["looped"], body=body)
    nodes = [loop, NODE("GlobalAveragePool", ["looped"], ["pooled"]), *BODY[1:]]
    return file(nodes, {"z": SCORES}, stored={"many": np.int64(2**62), "yes": np.bool_(True)})


@pytest.mark.parametrize(
    ("model", "cause", "remedy"),
    [
        (plain(opset=99), "opset 99", "opset 17"),
        (plain(opset=1), "opset 1,", "opset 17"),
        (without_opset(), "no opset", "opset 17"),
        (of_a_domain(), "operator Strange is of the domain 'own'", "ONNX's own operators"),
        (calling_itself(), "a function calls itself", "without functions that call themselves"),
        (without_location(), "'w' names no file for its numbers", "Export the model again"),
        (plain(shape=(1_000_000, 3, 16, 16)), "1,000,000 images", "for one image"),
    ],
    ids=["opset 99", "opset 1", "no opset", "domain", "recursion", "no location", "a million at once"],
)
def test_a_file_that_cannot_be_run_is_refused_with_the_cause(images, tmp_path, model, cause, remedy):
    onnx.save(model, tmp_path / "given.onnx")
    done = command("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE)
    assert done.code == 2, done.err
    assert cause in " ".join(done.err.split())
    assert remedy in " ".join(done.err.split())


def test_a_loop_without_an_end_is_ended(images, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "FIRST_IMAGE_S", 3.0)
    onnx.save(endless(), tmp_path / "given.onnx")
    with pytest.raises(StageFailed, match="did not come to an end .* Loop") as refused:
        evaluate(tmp_path / "given.onnx", images, mean=(0.5, 0.4, 0.6), std=(0.25, 0.2, 0.5))
    assert "condition of its Loop" in refused.value.remedy


def test_labels_beyond_every_position_are_shown_as_they_are(tmp_path):
    onnx.save(plain(), tmp_path / "given.onnx")
    labels = np.array([0, 2**63 + 5], dtype=np.uint64)
    np.savez(tmp_path / "data.npz", inputs=np.zeros((2, 3, 16, 16), np.float32), labels=labels)
    done = command("evaluate", tmp_path / "given.onnx", "--data", tmp_path / "data.npz")
    assert done.code == 2, done.err
    assert "9,223,372,036,854,775,813" in done.err


@pytest.mark.parametrize(("count", "words"), [(0, "holds 0 inputs"), (1, "holds 1 image: bounds need")])
def test_arrays_of_no_or_one_image_are_refused(tmp_path, count, words):
    onnx.save(plain(), tmp_path / "given.onnx")
    labels = np.zeros(count, np.int64)
    np.savez(tmp_path / "data.npz", inputs=np.zeros((count, 3, 16, 16), np.float32), labels=labels)
    done = command("evaluate", tmp_path / "given.onnx", "--data", tmp_path / "data.npz")
    assert done.code == 2, done.err
    assert words in " ".join(done.err.split())


@pytest.mark.parametrize("how", ["crop", "center_crop", "pad", "stretch"])
def test_how_photos_are_resized_is_chosen_and_told(images, tmp_path, how):
    onnx.save(plain(), tmp_path / "given.onnx")
    line = ("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE, "--json")
    done = command(*line, *(() if how == "crop" else ("--resize", how)))
    assert done.code == 0, done.err
    assumed = json.loads(done.out)["assumed"]["input"]
    assert RESIZE_NOTES[how] in assumed
    assert "add --resize" in assumed


@pytest.mark.parametrize(("how", "data"), [("middle", None), ("pad", "fashion_mnist_small")])
def test_resizing_that_cannot_be_is_refused(images, tmp_path, how, data):
    onnx.save(plain(), tmp_path / "given.onnx")
    done = command("evaluate", tmp_path / "given.onnx", "--data", data or images, "--resize", how)
    assert done.code == 2
    assert f"--resize {how}" in done.err


def test_scores_that_a_topk_sorts_are_refused(images, tmp_path):
    nodes = [
        *BODY[:-1],
        NODE(BODY[-1].op_type, list(BODY[-1].input), ["first"]),
        NODE("TopK", ["first", "k"], ["z", "i"]),
    ]
    for attribute in BODY[-1].attribute:
        nodes[-2].attribute.append(attribute)
    model = file(nodes, {"z": SCORES})
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3], np.int64), "k"))
    onnx.save(model, tmp_path / "given.onnx")
    done = command("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE)
    assert done.code == 2
    assert "sorted by a TopK" in done.err
    assert "'first'" in done.err
