"""Classifiers in the forms in which others ship them: the same figures as numpy and ONNX Runtime give."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_files import (
    BODY,
    CLASSES,
    FLOAT,
    MEAN,
    NODE,
    SCORES,
    SOFTMAX,
    STD,
    file,
    forms,
    pixels_of,
    softmax,
    write_images,
)
from onnx import TensorProto, helper
from scipy import optimize
from tiny_run import command

from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.external_models.calibrate import calibrate
from calkd_edge.external_models.evaluate import evaluate
from calkd_edge.onnx_model.adopt import adopted_file
from calkd_edge.onnx_model.class_names import parsed_names, positions_by_name
from calkd_edge.onnx_model.image_input import adopt_inputs
from calkd_edge.onnx_model.read import read_onnx
from calkd_edge.onnx_model.reading import Reading

FORMS = forms()
NORMALISED = {"mean": MEAN, "std": STD}
ON_THE_LINE = ("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """60 images of four classes."""
    return write_images(tmp_path_factory.mktemp("images") / "colours")


def by_hand(form, images):
    """Probabilities and labels, by numpy and ONNX Runtime alone, a file's own batch at a time."""
    pixels, names = pixels_of(images, form.size, grey=form.grey)
    mean, std = form.options.get("mean", MEAN), form.options.get("std", STD)
    channels = pixels.shape[-1]
    inputs = form.inputs(((pixels - mean[:channels]) / std[:channels]).astype(np.float32))
    model = onnx.ModelProto()
    model.CopyFrom(form.model)
    if form.extra is not None:
        model.graph.output.append(helper.make_tensor_value_info(*form.extra, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    size = form.at_once
    runs = [
        session.run(outputs, {"x": np.ascontiguousarray(inputs[at : at + size])}) for at in range(0, 60, size)
    ]
    returned = {name: np.concatenate(parts) for name, *parts in zip(outputs, *runs, strict=True)}
    labels = np.array([form.names.index(name) for name in names])
    return form.probabilities(returned).astype(np.float64), labels


def figures(p, labels):
    """top-1, NLL, ECE of 15 equal bins, and the temperature of the smallest NLL."""
    right, confidence = p.argmax(1) == labels, p.max(1)
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(15)]
    log_p = np.log(np.maximum(p, 1e-30))

    def nll(log_t):
        return -np.log(softmax(log_p / np.exp(log_t))[np.arange(len(labels)), labels]).mean()

    best = optimize.minimize_scalar(nll, bounds=(-4, 5), method="bounded", options={"xatol": 1e-8})
    return right.mean(), nll(0.0), sum(gaps) / len(labels), np.exp(best.x)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_any_form_is_scored_as_by_hand(name, images, tmp_path):
    form = FORMS[name]
    onnx.save(form.model, tmp_path / "given.onnx")
    top1, nll, ece, temperature = figures(*by_hand(form, images))
    found = calibrate(
        tmp_path / "given.onnx", images, output=tmp_path / "out.onnx", **{**NORMALISED, **form.options}
    )
    assert found.before.top1.value == pytest.approx(top1, abs=1e-12)
    assert found.before.nll.value == pytest.approx(nll, rel=2e-3)
    assert found.before.ece.value == pytest.approx(ece, abs=2e-3)
    assert found.calibration.temperature == pytest.approx(temperature, rel=5e-3)
    for entry, words in form.says.items():
        assert words in found.assumed[entry]
    assert not found.cautions
    if form.extra is None:  # the written file needs no further temperature
        written = dataclasses.replace(form, model=onnx.load(tmp_path / "out.onnx"))
        after = figures(*by_hand(written, images))
        assert after[0] == pytest.approx(top1, abs=1e-12)
        assert after[3] == pytest.approx(1, abs=0.02)


def test_links_of_a_cache_of_downloads_are_followed(images, tmp_path):
    """Both files are links into one folder of contents."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(
        forms()["a softmax at its end"].model,
        blobs / "aaa",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    (blobs / "model.onnx.data").rename(blobs / "bbb")
    (snapshot / "model.onnx").symlink_to("../../blobs/aaa")
    (snapshot / "model.onnx.data").symlink_to("../../blobs/bbb")
    top1, nll, *_ = figures(*by_hand(FORMS["a softmax at its end"], images))
    found = evaluate(snapshot / "model.onnx", images, **NORMALISED)
    assert (found.top1.value, found.nll.value) == (pytest.approx(top1), pytest.approx(nll, rel=1e-4))
    assert command("lint", snapshot / "model.onnx").code == 0


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    onnx.save(
        forms()["logits"].model,
        tmp_path / "model" / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    (tmp_path / "model" / "m.data").rename(tmp_path / "secret")
    (tmp_path / "model" / "m.data").symlink_to(tmp_path / "secret")
    with pytest.raises(RecipeError, match="outside the model's folder") as refused:
        read_onnx(tmp_path / "model" / "m.onnx")
    assert "replace it by the file itself" in refused.value.remedy
    (tmp_path / "model" / "m.data").unlink()
    (tmp_path / "secret").rename(tmp_path / "model" / "m.data")
    assert len(read_onnx(tmp_path / "model" / "m.onnx").graph.initializer) == 2


PER_CENT = file(
    [*BODY, SOFTMAX, NODE("Mul", ["p", "c"], ["out"])], {"out": SCORES}, stored={"c": np.float32(100)}
)


def custom_softmax():
    """Exponentials times a reciprocal: a softmax in no form that is recognised."""
    nodes = [
        *BODY,
        NODE("Exp", ["z"], ["e"]),
        NODE("ReduceSum", ["e", "axis"], ["t"], keepdims=1),
        NODE("Reciprocal", ["t"], ["r"]),
        NODE("Mul", ["e", "r"], ["p"]),
    ]
    return file(nodes, {"p": SCORES}, stored={"axis": np.array([1])})


def hidden_softmax():
    """Probabilities that no operator gives away: the last layer is an identity matrix behind the softmax."""
    nodes = [*BODY, NODE("Softmax", ["z"], ["q"], axis=1), NODE("MatMul", ["q", "eye"], ["p"])]
    return file(nodes, {"p": SCORES}, stored={"eye": np.eye(4, dtype=np.float32)})


@pytest.mark.parametrize(
    ("model", "options", "message", "remedy"),
    [
        (custom_softmax(), {}, "in an unknown form", "--scores probabilities"),
        (hidden_softmax(), {}, "sums to 1: these are probabilities, not logits", "--scores probabilities"),
        (FORMS["two outputs of scores"].model, {}, "2 outputs of scores", "--scores-output p"),
        (FORMS["an open image size"].model, {}, "leaves the image size open", "--image-size 16"),
        (
            file([*BODY, SOFTMAX], {"p": SCORES}, shape=("n", "c", 16, "w")),
            {},
            "which axis",
            "--layout nchw --image-size 16",
        ),
    ],
    ids=["unknown softmax", "hidden softmax", "two outputs", "open size", "open channels"],
)
@pytest.mark.parametrize("name", ["evaluate", "calibrate"])
def test_a_remedy_that_names_an_option_works(name, model, options, message, remedy, images, tmp_path):
    onnx.save(model, tmp_path / "given.onnx")
    line = [name, *(["--model"] if name == "calibrate" else []), tmp_path / "given.onnx", "--data", images]
    refused = command(*line, *ON_THE_LINE)
    assert refused.code == 2
    assert message in refused.err.replace("\n", " ")
    assert remedy.split()[0] in refused.err.partition("fix:")[2]
    done = command(*line, *ON_THE_LINE, *remedy.split(), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found if name == "evaluate" else found["before"])["top1"]["value"] > 0.5
    assert found["assumed"]["images"] == "60 images of colours"


def test_mean_and_std_in_0_to_255_are_refused_with_what_to_write(images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    line = ["evaluate", tmp_path / "given.onnx", "--data", images]
    refused = command(*line, "--mean", "127.5,102,153", "--std", "63.75,51,127.5")
    assert refused.code == 2
    assert "0..255" in refused.err
    fixed = re.findall(r"--(?:mean|std) [\d.,]+", refused.err.partition("fix:")[2])
    done = command(*line, *" ".join(fixed).split(), "--json")
    assert (
        json.loads(done.out)["top1"]
        == evaluate(tmp_path / "given.onnx", images, **NORMALISED).top1.model_dump()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5), "std": STD}, "--mean 0.5,0.5: not three numbers"),
        ({"mean": MEAN, "std": (float("nan"),) * 3}, "--std nan,nan,nan: not three numbers"),
        ({"mean": MEAN, "std": (1.0, 0.0, 1.0)}, "pixels are divided by it"),
        ({**NORMALISED, "channels": "grb"}, "--channels grb"),
        ({**NORMALISED, "scores": "chances"}, "--scores chances"),
        ({**NORMALISED, "image_size": (16, 32)}, "the model fixes 16x16"),
    ],
)
def test_descriptions_that_fit_no_file_are_refused(options, message, images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    with pytest.raises(RecipeError, match=re.escape(message)):
        evaluate(tmp_path / "given.onnx", images, **options)


def test_per_cents_a_hardmax_and_a_single_score_are_refused_with_a_way(images, tmp_path):
    single = file(
        [*BODY, NODE("Slice", ["z", "zero", "one", "one"], ["y"])],
        {"y": (FLOAT, ["n", 1])},
        stored={"zero": np.array([0]), "one": np.array([1])},
    )
    for model, message in (
        (PER_CENT, "with a Softmax in an unknown form"),
        (file([*BODY, NODE("Hardmax", ["z"], ["p"], axis=1)], {"p": SCORES}), "is a Hardmax"),
        (single, "a binary classifier with one probability"),
    ):
        onnx.save(model, tmp_path / "given.onnx")
        with pytest.raises(RecipeError, match=message) as refused:
            evaluate(tmp_path / "given.onnx", images, **NORMALISED)
    onnx.save(PER_CENT, tmp_path / "given.onnx")
    with pytest.raises(RecipeError, match="every row sums to 100: these are per cents"):
        evaluate(tmp_path / "given.onnx", images, scores="probabilities", **NORMALISED)
    # The way that the last refusal names.
    assert "calibrate --predictions" in refused.value.remedy
    p, labels = by_hand(FORMS["a softmax at its end"], images)
    of_first = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
    np.savez(tmp_path / "saved.npz", probabilities=of_first, labels=(labels == 0).astype(np.int64))
    assert command("calibrate", "--predictions", tmp_path / "saved.npz").code == 0


def test_a_file_for_a_newer_onnx_is_refused_and_its_remedy_works(images, tmp_path):
    model = onnx.ModelProto()
    model.CopyFrom(FORMS["logits"].model)
    model.ir_version = 99
    onnx.save(model, tmp_path / "given.onnx")
    with pytest.raises(RecipeError, match="ir_version 99") as refused:
        evaluate(tmp_path / "given.onnx", images, **NORMALISED)
    loaded = onnx.load(tmp_path / "given.onnx")
    loaded.ir_version = int(re.search(r"ir_version to (\d+)", refused.value.remedy)[1])
    onnx.save(loaded, tmp_path / "given.onnx")
    assert evaluate(tmp_path / "given.onnx", images, **NORMALISED).images == 60


def test_scores_that_are_not_numbers_are_refused_by_both_commands(images, tmp_path):
    nodes = [*BODY, NODE("Mul", ["z", "nan"], ["y"])]
    onnx.save(file(nodes, {"y": SCORES}, stored={"nan": np.float32("nan")}), tmp_path / "given.onnx")
    for judge in (evaluate, calibrate):
        with pytest.raises(RecipeError, match=r"given\.onnx: logits hold NaN"):
            judge(tmp_path / "given.onnx", images, **NORMALISED)


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n", "Git LFS", "git lfs pull"),
        ("<!DOCTYPE html><html>Sign in</html>", "a web page", "Download the file itself"),
    ],
)
def test_what_stands_in_place_of_a_file_is_recognised(content, message, remedy, images, tmp_path):
    for name in ("given.onnx", "given.npz", "given.csv", "given.txt"):
        (tmp_path / name).write_text(content)
    good = tmp_path / "good.onnx"
    onnx.save(FORMS["logits"].model, good)
    for line in (
        ("evaluate", tmp_path / "given.onnx", "--data", images),
        ("lint", tmp_path / "given.onnx"),
        ("benchmark", tmp_path / "given.onnx"),
        ("calibrate", "--model", good, "--data", tmp_path / "given.npz"),
        ("calibrate", "--predictions", tmp_path / "given.npz"),
        ("calibrate", "--predictions", tmp_path / "given.csv"),
        ("evaluate", good, "--data", images, *ON_THE_LINE, "--classes", tmp_path / "given.txt"),
    ):
        refused = command(*line)
        assert refused.code == 2
        assert message in refused.err
        assert remedy in refused.err


def test_a_teachers_file_is_refused_in_the_words_of_a_recipe(tmp_path):
    for model, key in (
        (FORMS["an open image size"].model, "teacher.image_size"),
        (hidden_softmax(), "teacher.mean"),
    ):
        onnx.save(model, tmp_path / "given.onnx")
        with pytest.raises(RecipeError, match=r"^teacher\.weights: .*given\.onnx") as refused:
            adopted_file(tmp_path / "given.onnx")
        assert key in refused.value.remedy
        assert set(re.findall(r"--[a-z-]+", refused.value.remedy)) <= {"--set"}
    adopted = adopted_file(
        tmp_path / "given.onnx", mean=MEAN, std=STD, scores="probabilities", channels="bgr"
    )
    assert adopted.classes == 4


def test_grey_is_the_luma_that_image_libraries_compute():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 40, 50), dtype=np.uint8)
    model = helper.make_model(
        helper.make_graph(
            [NODE("Identity", ["x"], ["y"])],
            "grey",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 1, 40, 50])],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    adopted = adopt_inputs(model, Reading()).model
    session = onnxruntime.InferenceSession(adopted.SerializeToString(), providers=["CPUExecutionProvider"])
    (grey,) = session.run(None, {"images": pixels})
    np.testing.assert_array_equal(grey[0, 0], Image.fromarray(pixels[0].transpose(1, 2, 0)).convert("L"))


def test_a_fixed_batch_whose_images_change_each_other_is_a_caution(images, tmp_path):
    model = FORMS["batch statistics"].model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(fixed, tmp_path / "given.onnx")
    found = evaluate(tmp_path / "given.onnx", images, **NORMALISED)
    assert any("depend on the others in its batch" in caution for caution in found.cautions)


# Classes


def permuted(order, *, key=None, value=None):
    nodes = [*BODY, NODE("Gather", ["z", "order"], ["y"], axis=1), NODE("Softmax", ["y"], ["p"], axis=1)]
    model = file(nodes, {"p": SCORES}, stored={"order": np.array(order)})
    if key is not None:
        model.metadata_props.add(key=key, value=value)
    return model


ORDER = [2, 0, 3, 1]
NAMES = [CLASSES[at] for at in ORDER]


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(NAMES),
        json.dumps(dict(enumerate(NAMES))),
        str(dict(enumerate(NAMES))),
        json.dumps({name: at for at, name in enumerate(NAMES)}),
        "\n".join(NAMES),
        ", ".join(NAMES),
    ],
)
def test_class_names_are_read_in_every_usual_form(value):
    assert parsed_names(value) == tuple(NAMES)


def test_a_class_is_found_under_a_name_that_a_folder_can_have():
    model = ("T-shirt/top", "Trouser", "Ankle boot")
    assert positions_by_name(model, ("ankle_boot", "t-shirt_top", "other")) == (2, 0, None)
    assert positions_by_name(("a b", "a-b"), ("a_b",)) == (None,)


def test_another_order_of_classes_is_pointed_out_and_can_be_given(images, tmp_path):
    onnx.save(permuted(ORDER), tmp_path / "given.onnx")
    found = evaluate(tmp_path / "given.onnx", images, **NORMALISED)
    assert found.top1.value < 0.3
    assert any("another order of the classes would score" in caution for caution in found.cautions)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    line = ("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE)
    done = command(*line, "--classes", tmp_path / "names.txt", "--json")
    named = json.loads(done.out)
    assert named["top1"]["value"] > 0.6
    assert named["cautions"] == []


def test_names_in_the_metadata_decide_and_other_names_are_refused_with_a_way(images, tmp_path):
    ours = permuted(ORDER, key="calkd_edge.classes", value=json.dumps([*NAMES[:3], "T-shirt/top"]))
    onnx.save(ours, tmp_path / "given.onnx")
    line = ("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE)
    refused = command(*line)
    assert refused.code == 2
    assert "'brick' is none of the file's 4" in refused.err
    assert "--classes FILE" in refused.err
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    assert command(*line, "--classes", tmp_path / "names.txt").code == 0


def test_names_that_are_not_as_many_as_the_classes_of_the_file_are_refused(images, tmp_path):
    """Labels would stand for classes that the file does not have."""
    ours = permuted(ORDER, key="calkd_edge.classes", value=json.dumps([*CLASSES, "another"]))
    onnx.save(ours, tmp_path / "given.onnx")
    with pytest.raises(RecipeError, match=r"classes has 5 names, .*given\.onnx has 4 classes") as raised:
        evaluate(tmp_path / "given.onnx", images, **NORMALISED)
    assert "--classes FILE" in raised.value.remedy
    assert evaluate(tmp_path / "given.onnx", images, classes=NAMES, **NORMALISED).top1.value > 0.6


def test_a_field_test_set_may_lack_classes(images, tmp_path):
    onnx.save(
        permuted(ORDER, key="id2label", value=json.dumps(dict(enumerate(NAMES)))), tmp_path / "given.onnx"
    )
    (tmp_path / "field").mkdir()
    for name in CLASSES[:2]:
        (tmp_path / "field" / name).symlink_to(images / name)
    found = evaluate(tmp_path / "given.onnx", tmp_path / "field", **NORMALISED)
    assert found.images == 30
    assert "2 of 4 classes have images" in found.assumed["classes"]
    assert found.top1.value > 0.6


def test_fewer_classes_than_the_file_without_names_are_refused_with_a_way(images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    (tmp_path / "field").mkdir()
    for name in CLASSES[:2]:
        (tmp_path / "field" / name).symlink_to(images / name)
    with pytest.raises(RecipeError, match="4 classes, the data have 2") as refused:
        evaluate(tmp_path / "given.onnx", tmp_path / "field", **NORMALISED)
    assert "--classes FILE" in refused.value.remedy
    assert evaluate(tmp_path / "given.onnx", tmp_path / "field", classes=CLASSES, **NORMALISED).images == 30
    with pytest.raises(RecipeError, match="3 names"):
        evaluate(tmp_path / "given.onnx", tmp_path / "field", classes=CLASSES[:3], **NORMALISED)


def test_class_folders_named_by_numbers_are_in_the_order_of_numbers(tmp_path):
    count = 11
    weight = np.eye(3, count, dtype=np.float32)
    from PIL import Image

    for label in range(count):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((16, 16, 3), 20 * label + 10 + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / str(label) / f"{number}.png")
    centres = (20 * np.arange(count) + 11) / 255
    weight = np.stack([2000 * centres / 3] * 3).astype(np.float32)
    bias = (-1000 * centres**2).astype(np.float32)
    model = file(BODY, {"z": (FLOAT, ["n", count])}, stored={"w": weight, "b": bias})
    onnx.save(model, tmp_path / "given.onnx")
    found = evaluate(tmp_path / "given.onnx", tmp_path / "data", mean=(0, 0, 0), std=(1, 1, 1))
    assert found.top1.value == 1
    assert not found.cautions


# Data and options


def test_every_labelled_image_counts_and_what_is_left_out_is_named(images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    for name in CLASSES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for at, path in enumerate(sorted((images / name).glob("*.png"))):
            (tmp_path / "data" / name / f"{at}.png").write_bytes(path.read_bytes())
    (tmp_path / "data" / "azure" / "notes.txt").write_text("x")
    found = evaluate(tmp_path / "given.onnx", tmp_path / "data", **NORMALISED)
    assert found.images == 60
    assert "azure/notes.txt" in found.assumed["images"]
    assert evaluate(tmp_path / "given.onnx", tmp_path / "data", images=59, **NORMALISED).images == 59


def test_a_broken_image_is_named_with_a_remedy_that_both_commands_allow(images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    for name in CLASSES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in (images / name).glob("*.png"):
            (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    cut = tmp_path / "data" / "clay" / "cut.png"
    cut.write_bytes((images / "clay" / "00.png").read_bytes()[:200])
    for judge in (evaluate, calibrate):
        with pytest.raises(CalkdError, match=r"clay/cut\.png") as refused:
            judge(tmp_path / "given.onnx", tmp_path / "data", **NORMALISED)
        assert "--set" not in refused.value.remedy
    cut.unlink()
    assert evaluate(tmp_path / "given.onnx", tmp_path / "data", **NORMALISED).images == 60


@pytest.mark.parametrize("data", ["empty", "cifar10"])
def test_errors_of_the_data_name_options_of_the_command(data, tmp_path):
    onnx.save(file(BODY, {"z": SCORES}, shape=("n", 3, 32, 32)), tmp_path / "given.onnx")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train-0.parquet").write_text("x")
    line = ["--root", tmp_path / "empty"] if data == "cifar10" else []
    where = data if line else tmp_path / "empty"
    refused = command("evaluate", tmp_path / "given.onnx", "--data", where, *line, *ON_THE_LINE)
    assert refused.code == 2
    assert "data.root" not in refused.err
    assert "--set" not in refused.err


@pytest.mark.parametrize(
    "option",
    [
        "--data x",
        "--images 9",
        "--root x",
        "--layout nchw",
        "--mean 0,0,0",
        "--std 1,1,1",
        "--scores logits",
        "--scores-output z",
        "--threads 2",
        "--channels bgr",
        "--image-size 9",
        "--output x.onnx",
    ],
)
def test_options_that_saved_predictions_do_not_have_are_refused_by_name(option, tmp_path):
    np.savez(tmp_path / "saved.npz", logits=np.eye(4)[np.arange(40) % 4], labels=np.arange(40) % 4)
    refused = command("calibrate", "--predictions", tmp_path / "saved.npz", *option.split())
    assert refused.code == 2
    assert option.split()[0] in refused.err


@pytest.mark.parametrize("output", ["file/out.onnx", "/proc/out.onnx", "folder.onnx", "given.onnx"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(output, images, tmp_path):
    onnx.save(FORMS["logits"].model, tmp_path / "given.onnx")
    before = (tmp_path / "given.onnx").read_bytes()
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(RecipeError, match="--output") as refused:
        calibrate(tmp_path / "given.onnx", "nothing there", output=tmp_path / output, **NORMALISED)
    assert "--output calibrated.onnx" in refused.value.remedy
    assert (tmp_path / "given.onnx").read_bytes() == before


def test_a_benchmark_and_an_evaluation_name_the_users_file(images, tmp_path):
    nodes = [
        NODE("Strange", ["x"], ["s"], domain="own"),
        NODE("GlobalAveragePool", ["s"], ["pooled"]),
        *BODY[1:],
    ]
    onnx.save(file(nodes, {"z": SCORES}, domains=("own",)), tmp_path / "mine.onnx")
    for line, code, said in (
        (("benchmark", tmp_path / "mine.onnx"), 5, "refuses mine.onnx"),
        (("evaluate", tmp_path / "mine.onnx", "--data", images, *ON_THE_LINE), 2, "mine.onnx cannot be run"),
    ):
        refused = command(*line)
        assert refused.code == code
        assert said in refused.err
        assert "model.onnx" not in refused.err
        assert "runnable" not in refused.err


def test_huge_figures_fit_on_the_screen(images, tmp_path):
    nodes = [*BODY, NODE("Mul", ["z", "huge"], ["y"])]
    onnx.save(file(nodes, {"y": SCORES}, stored={"huge": np.float32(1e36)}), tmp_path / "given.onnx")
    done = command("evaluate", tmp_path / "given.onnx", "--data", images, *ON_THE_LINE)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines()[:9])) < 60
    assert "assumed:" in done.out
