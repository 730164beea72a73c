"""`calkd-edge calibrate` on classifiers made without this project: trained and exported by others."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from tiny_run import command
from torch import nn

MEAN, STD = 0.3, 0.4
HELD_OUT = 900


@pytest.fixture(scope="module")
def digits():
    """8x8 digits in 0..1, shuffled: the first are learned, the last HELD_OUT are not."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order] / 16).astype(np.float32), labels[order]


@pytest.fixture(scope="module")
def perceptron(digits, tmp_path_factory):
    """A network of scikit-learn by way of skl2onnx, too sure of itself; file, data, inputs and labels."""
    skl2onnx = pytest.importorskip("skl2onnx")
    images, labels = digits
    generator = np.random.default_rng(1)
    noisy = (images + generator.normal(size=images.shape) * 0.35).astype(np.float32)
    model = MLPClassifier((64,), max_iter=300, alpha=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(noisy[:-HELD_OUT], labels[:-HELD_OUT])
    folder = tmp_path_factory.mktemp("perceptron")
    kind = skl2onnx.common.data_types.FloatTensorType([None, 64])
    made = skl2onnx.convert_sklearn(
        model, initial_types=[("x", kind)], options={id(model): {"zipmap": False}}
    )
    (folder / "mlp.onnx").write_bytes(made.SerializeToString())
    held_out = noisy[-HELD_OUT:], labels[-HELD_OUT:]
    np.savez(folder / "held_out.npz", inputs=held_out[0], labels=held_out[1])
    return folder / "mlp.onnx", folder / "held_out.npz", *held_out


def run_by_itself(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: inputs}), strict=True))


def test_scikit_learns_network_gets_its_temperature_into_its_last_layer(perceptron, tmp_path):
    path, data, inputs, _ = perceptron
    output = tmp_path / "calibrated.onnx"
    done = command("calibrate", "--model", path, "--data", data, "--output", output, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["calibration"]["fold"] == "folded"
    assert found["end"]["kind"] == "softmax"
    assert found["before"]["ece"]["low"] > 0.01
    assert found["after"]["ece"]["value"] < found["before"]["ece"]["value"]
    assert found["nll_change"]["high"] < 0
    t = found["calibration"]["temperature"]
    assert t > 1.1
    before, after = run_by_itself(path, inputs), run_by_itself(output, inputs)
    assert before.keys() == after.keys() == {"label", "probabilities"}
    np.testing.assert_array_equal(before["label"], after["label"])
    by_hand = before["probabilities"].astype(float) ** (1 / t)
    by_hand /= by_hand.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after["probabilities"], by_hand, atol=1e-5)
    page = (tmp_path / "calibrated.calibration.html").read_text()
    assert "Confidence before and after" in page
    assert json.loads((tmp_path / "calibrated.calibration.json").read_text()) == found


def test_a_second_calibration_finds_nothing_left(perceptron, tmp_path):
    path, data, _, _ = perceptron
    output = tmp_path / "calibrated.onnx"
    assert command("calibrate", "--model", path, "--data", data, "--output", output).code == 0
    again = json.loads(command("calibrate", "--model", output, "--data", data, "--json").out)
    assert again["calibration"]["temperature"] == pytest.approx(1, abs=1e-4)


class Squeezed(nn.Module):
    """A small network as others write them: float images, channels last, softmax taken twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(32 * 8 * 8, 10)

    def logits(self, images):
        return self.head(self.body(images.permute(0, 3, 1, 2)).flatten(1))

    def forward(self, images):
        return self.logits(images).softmax(-1).softmax(-1)


@pytest.fixture(scope="module")
def squeezed(digits, tmp_path_factory):
    """The trained network's file, and a folder of class folders with images it has not seen."""
    images, labels = digits
    pixels = (images.reshape(-1, 8, 8) * 255).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    torch.manual_seed(0)
    model = Squeezed()
    inputs = torch.from_numpy((pixels[:-HELD_OUT, :, :, None].repeat(3, axis=3) / 255 - MEAN) / STD).float()
    targets = torch.from_numpy(labels[:-HELD_OUT])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8):
        for rows in torch.randperm(len(inputs)).split(64):
            loss = nn.functional.cross_entropy(model.logits(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    folder = tmp_path_factory.mktemp("squeezed")
    torch.onnx.export(
        model.eval(),
        (inputs[:2],),
        folder / "squeezed.onnx",
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    for number, (image, label) in enumerate(zip(pixels[-HELD_OUT:], labels[-HELD_OUT:], strict=True)):
        place = folder / "images" / f"digit_{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(place / f"{number}.png")
    return folder / "squeezed.onnx", folder / "images"


def test_a_softmax_taken_twice_is_seen_said_and_calibrated_as_it_ships(squeezed, tmp_path):
    path, folder = squeezed
    triple = [",".join([str(value)] * 3) for value in (MEAN, STD)]
    output = tmp_path / "calibrated.onnx"
    wanted = ("--model", path, "--data", folder, "--mean", triple[0], "--std", triple[1])
    done = command("calibrate", *wanted, "--output", output, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["end"]["kind"], found["end"]["softmaxes"]) == ("softmax", 2)
    assert found["images"] == HELD_OUT
    assert found["classes"][3] == "digit_3"
    assert any("takes softmax 2 times" in sentence for sentence in found["sentences"])
    assert found["before"]["mean_confidence"] < 0.25
    assert found["before"]["top1"]["value"] > 0.9
    assert found["after"]["ece"]["value"] < 0.1 < 0.6 < found["before"]["ece"]["value"]
    assert found["calibration"]["fold"] == "nodes_appended"
    assert found["calibration"]["fold_reason"] == "a Softmax makes the logits"
    images = np.stack([np.asarray(Image.open(one)) for one in sorted(folder.glob("*/*.png"))[:50]])
    scaled = ((images / 255 - MEAN) / STD).astype(np.float32)
    (before,), (after,) = (run_by_itself(one, scaled).values() for one in (path, output))
    sharpened = before.astype(float) ** (1 / found["calibration"]["temperature"])
    np.testing.assert_allclose(after, sharpened / sharpened.sum(axis=1, keepdims=True), atol=1e-5)


def test_normalisation_that_the_file_does_not_tell_is_asked_for(squeezed):
    path, folder = squeezed
    done = command("calibrate", "--model", path, "--data", folder)
    assert done.code == 2
    assert "--mean R,G,B --std R,G,B" in done.err


def test_inputs_without_labels_take_a_constant_only(perceptron, tmp_path):
    path, _, inputs, _ = perceptron
    np.savez(tmp_path / "unlabelled.npz", inputs=inputs)
    wanted = ("calibrate", "--model", path, "--data", tmp_path / "unlabelled.npz")
    done = command(*wanted)
    assert done.code == 2
    assert "--method constant" in done.err
    output = tmp_path / "calibrated.onnx"
    done = command(*wanted, "--method", "constant", "--set", "temperature=2", "--output", output, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["before"] is None
    assert found["calibration"]["nll_before"] is None
    assert found["mean_confidence_after"] < found["mean_confidence_before"]
    assert found["calibration"]["proof"]["argmax_changes"] == 0
    by_hand = run_by_itself(path, inputs)["probabilities"].astype(float) ** 0.5
    by_hand /= by_hand.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run_by_itself(output, inputs)["probabilities"], by_hand, atol=1e-5)


def test_predictions_alone_are_measured_for_people_and_as_json(perceptron, tmp_path):
    path, _, inputs, labels = perceptron
    probabilities = run_by_itself(path, inputs)["probabilities"]
    np.savez(tmp_path / "said.npz", probabilities=probabilities, labels=labels)
    done = command("calibrate", "--predictions", tmp_path / "said.npz", "--threshold", "0.8")
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[:4]] == ["top-1", "confidence", "NLL", "Brier"]
    told = json.loads(command("calibrate", "--predictions", tmp_path / "said.npz", "--json").out)
    assert told["end"] is None
    assert told["file"] is None
    assert told["images"] == HELD_OUT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --predictions FILE or --model FILE"),
        (("--predictions", "a.npz", "--model", "m.onnx"), "give --predictions FILE or --model FILE"),
        (("--model", "m.onnx"), "--model needs --data"),
        (("--predictions", "a.npz", "--output", "b.onnx"), "predictions are complete"),
        (("--predictions", "a.npz", "--scores", "odds"), "--scores odds: not known"),
        (("--predictions", "a.npz", "--threshold", "1.5"), "not between 0 and 1"),
        (("--predictions", "absent.npz"), "there is no file absent.npz"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused(arguments, said):
    done = command("calibrate", *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err
