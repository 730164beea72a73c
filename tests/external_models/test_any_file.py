"""Files of any maker, repaired whole: what is written returns what it must, or nothing is written."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.calibration.bias import bias
from calkd_edge.calibration.crossfit import cross_fit
from calkd_edge.calibration.temperature import temperature
from calkd_edge.errors import RecipeError, StageFailed
from calkd_edge.external_models.options import RepairOptions
from calkd_edge.external_models.predictions import SavedPredictions
from calkd_edge.external_models.repair import measure, repair
from calkd_edge.external_models.scoring import DataOptions
from calkd_edge.onnx_model.reading import Reading

NODE = helper.make_node
WEIGHT = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32) * 2
INPUTS = np.random.default_rng(2).normal(size=(400, 6)).astype(np.float32)
LOGITS = INPUTS.astype(float) @ WEIGHT
LABELS = (LOGITS / 1.7 + np.random.default_rng(3).gumbel(size=LOGITS.shape)).argmax(axis=1)
LINEAR = NODE("MatMul", ["x", "w"], ["z"])
SOFTMAX_OF_Z = NODE("Softmax", ["z"], ["p"])
SCORES = (TensorProto.FLOAT, ["batch", 3])


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def model(nodes, outputs, stored=None, *, batch="batch", domains=()) -> onnx.ModelProto:
    values = {"w": WEIGHT, **(stored or {})}
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture
def shop(tmp_path):
    """Saves a model and data, repairs it, and runs both files by themselves."""

    class Shop:
        source, output = tmp_path / "given.onnx", tmp_path / "written.onnx"

        def repair(self, file, *, labels=LABELS, asked=None, reading=None, output=True):
            onnx.save(file, self.source)
            arrays = {"inputs": INPUTS} if labels is None else {"inputs": INPUTS, "labels": labels}
            np.savez(tmp_path / "data.npz", **arrays)
            return repair(
                self.source,
                DataOptions(tmp_path / "data.npz"),
                asked or RepairOptions(),
                reading=reading,
                output=self.output if output else None,
            )

        def run(self, path, inputs=INPUTS):
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            names = [one.name for one in session.get_outputs()]
            rows = inputs if session.get_inputs()[0].shape[0] != 1 else inputs[:1]
            return dict(zip(names, session.run(names, {"x": rows}), strict=True))

    return Shop()


QUANTIZED = {"s": np.float32(1 / 255), "zero": np.uint8(0)}
BEHIND = {
    "a cast": ([NODE("Softmax", ["z"], ["s16"]), NODE("Cast", ["s16"], ["p"], to=TensorProto.FLOAT)], {}),
    "a clip": (
        [NODE("Softmax", ["z"], ["q"]), NODE("Clip", ["q", "low", "high"], ["p"])],
        {"low": np.float32(0), "high": np.float32(1)},
    ),
    "quantization": (
        [
            NODE("Softmax", ["z"], ["q"]),
            NODE("QuantizeLinear", ["q", "s", "zero"], ["q8"]),
            NODE("DequantizeLinear", ["q8", "s", "zero"], ["p"]),
        ],
        QUANTIZED,
    ),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_softmax_is_found_through_what_stands_behind_it(shop, name):
    nodes, stored = BEHIND[name]
    found = shop.repair(model([LINEAR, *nodes], {"p": SCORES}, stored))
    assert found.end.kind == "softmax"
    t = found.calibration.temperature
    assert t == pytest.approx(1.7, rel=0.15)
    np.testing.assert_allclose(shop.run(shop.output)["p"], softmax(LOGITS / t), atol=1 / 255)


def test_something_like_a_softmax_in_a_form_that_is_not_known_must_be_named(shop):
    nodes = [LINEAR, NODE("Softmax", ["z"], ["q"]), NODE("Sqrt", ["q"], ["p"])]
    with pytest.raises(RecipeError, match="'p' is computed with a Softmax") as refused:
        shop.repair(model(nodes, {"p": SCORES}))
    assert "--scores" in refused.value.remedy


def test_a_softmax_before_the_last_layer_is_attention_and_no_confidence(shop):
    nodes = [NODE("Softmax", ["x"], ["attended"]), NODE("MatMul", ["attended", "w"], ["z"])]
    assert shop.repair(model(nodes, {"z": SCORES}), output=False).end.kind == "logits"


def test_log_probabilities_stay_normalised(shop):
    nodes = [LINEAR, NODE("Softmax", ["z"], ["q"]), NODE("Log", ["q"], ["p"])]
    found = shop.repair(model(nodes, {"p": SCORES}))
    assert found.end.kind == "log_softmax"
    np.testing.assert_allclose(np.exp(shop.run(shop.output)["p"]).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "branch",
    [
        [NODE("Identity", ["z"], ["i"]), NODE("MatMul", ["i", "v"], ["energy"])],
        [NODE("Reshape", ["z", "as_is"], ["r"]), NODE("ReduceLogSumExp", ["r"], ["energy"], keepdims=0)],
    ],
)
def test_another_output_that_comes_of_the_logits_is_not_changed_behind_ones_back(shop, branch):
    stored = {"v": np.ones((3, 1), np.float32), "as_is": np.array([-1, 3])}
    nodes = [LINEAR, NODE("Softmax", ["z"], ["p"]), *branch]
    outputs = {"p": SCORES, "energy": (TensorProto.FLOAT, None)}
    with pytest.raises(RecipeError, match="whose result calibration would change"):
        shop.repair(model(nodes, outputs, stored), reading=Reading(output="p"))
    assert not shop.output.exists()


def test_outputs_of_half_precision_stay_so(shop):
    nodes = [
        NODE("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        NODE("MatMul", ["h", "w16"], ["z"]),
        NODE("Softmax", ["z"], ["p"]),
    ]
    file = model(nodes, {"p": (TensorProto.FLOAT16, ["batch", 3])}, {"w16": WEIGHT.astype(np.float16)})
    found = shop.repair(file)
    returned = shop.run(shop.output)["p"]
    assert returned.dtype == np.float16
    np.testing.assert_allclose(
        returned.astype(float), softmax(LOGITS / found.calibration.temperature), atol=5e-3
    )


def test_a_fixed_batch_of_one_is_asked_one_by_one(shop):
    file = model([LINEAR, NODE("Softmax", ["z"], ["p"])], {"p": (TensorProto.FLOAT, [1, 3])}, batch=1)
    found = shop.repair(file)
    assert found.images == 400
    np.testing.assert_allclose(
        shop.run(shop.output)["p"], softmax(LOGITS[:1] / found.calibration.temperature), atol=1e-5
    )


def test_a_number_of_inputs_that_a_reshape_fixes_inside_is_found(shop):
    """The input is declared open; 400 inputs are no multiple of 7."""
    nodes = [NODE("Reshape", ["x", "shape"], ["r"]), NODE("MatMul", ["r", "w"], ["z"]), SOFTMAX_OF_Z]
    found = shop.repair(model(nodes, {"p": SCORES}, {"shape": np.array([7, 6])}))
    assert found.images == 400
    assert found.assumed["batch"].startswith("7 images at a time")
    t = found.calibration.temperature
    np.testing.assert_allclose(shop.run(shop.output, INPUTS[:7])["p"], softmax(LOGITS[:7] / t), atol=1e-5)


def test_a_size_below_zero_is_an_open_one_and_an_output_may_have_any_name(shop):
    """So files of PaddlePaddle say it; and numpy.savez has an argument named file."""
    kind = (TensorProto.FLOAT, [-1, 3])
    nodes = [LINEAR, NODE("Softmax", ["z"], ["file"])]
    found = shop.repair(model(nodes, {"file": kind}, batch=-1))
    t = found.calibration.temperature
    np.testing.assert_allclose(shop.run(shop.output)["file"], softmax(LOGITS / t), atol=1e-6)


def test_a_file_with_nodes_of_ours_can_be_calibrated_again(shop):
    nodes = [LINEAR, NODE("Tanh", ["z"], ["t"]), NODE("Softmax", ["t"], ["p"])]
    first = shop.repair(model(nodes, {"p": SCORES}))
    assert first.calibration.fold == "nodes_appended"
    again = shop.repair(onnx.load(shop.output))
    assert again.calibration.temperature == pytest.approx(1, abs=1e-3)


def test_an_old_file_that_lists_its_weights_as_inputs_stays_runnable(shop):
    file = model([NODE("Gemm", ["x", "w", "b"], ["z"])], {"z": SCORES}, {"b": np.ones(3, np.float32)})
    file.ir_version = 3
    file.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 3]))
    file.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]))
    found = shop.repair(file)
    assert found.calibration.fold == "folded"
    by_hand = (LOGITS + 1) / found.calibration.temperature
    np.testing.assert_allclose(shop.run(shop.output)["z"], by_hand, atol=1e-4)


def forest() -> onnx.ModelProto:
    """scikit-learn's linear classifier: label and probabilities of one node."""
    nodes = [
        NODE(
            "LinearClassifier",
            ["x"],
            ["label", "raw"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1, 2],
            coefficients=WEIGHT.T.reshape(-1).tolist(),
            intercepts=[0.0] * 3,
            post_transform="SOFTMAX",
        ),
        NODE("Normalizer", ["raw"], ["p"], domain="ai.onnx.ml", norm="L1"),
    ]
    outputs = {"label": (TensorProto.INT64, ["batch"]), "p": SCORES}
    return model(nodes, outputs, domains=("ai.onnx.ml",))


def test_probabilities_without_logits_are_calibrated_by_their_logarithm(shop):
    found = shop.repair(forest())
    assert found.end.kind == "probabilities"
    t = found.calibration.temperature
    np.testing.assert_allclose(shop.run(shop.output)["p"], softmax(LOGITS / t), atol=1e-5)


def test_a_label_that_could_not_follow_forbids_maps_that_move_answers(shop):
    with pytest.raises(RecipeError, match="the file's label output would not follow"):
        shop.repair(forest(), asked=RepairOptions("bias"))


def test_probabilities_of_zero_are_no_accident(shop):
    """As forests return them."""
    floor = np.array([0.5, 0, 0], np.float32)
    nodes = [
        LINEAR,
        NODE("Max", ["z", "floor"], ["r"]),
        NODE("Normalizer", ["r"], ["p"], domain="ai.onnx.ml", norm="L1"),
    ]
    file = model(nodes, {"p": SCORES}, {"floor": floor}, domains=("ai.onnx.ml",))
    labels = np.maximum(LOGITS, floor).argmax(axis=1)
    found = shop.repair(file, labels=labels, asked=RepairOptions("constant", {"temperature": 1.5}))
    assert found.calibration.proof.argmax_changes == 0


def test_where_no_map_can_be_fitted_nothing_is_said_to_have_improved(shop):
    labels = LOGITS.argmin(axis=1)
    found = shop.repair(model([LINEAR, NODE("Softmax", ["z"], ["p"])], {"p": SCORES}), labels=labels)
    assert found.calibration.status == "anti"
    assert found.after == found.before
    whole, folds = cross_fit(
        lambda logits, answers: temperature(logits, answers, ("a", "b", "c")), LOGITS, labels
    )
    assert whole.status == "anti"
    np.testing.assert_array_equal(folds.apply(LOGITS), LOGITS)


def test_writing_over_the_given_file_tells_the_given_files_sum(shop):
    file = model([LINEAR, NODE("Softmax", ["z"], ["p"])], {"p": SCORES})
    shop.output = shop.source
    onnx.save(file, shop.source)
    before = hashlib.sha256(shop.source.read_bytes()).hexdigest()
    assert shop.repair(file).sha256 == before


def test_a_softmax_written_out_over_images_is_not_taken_for_one_over_classes(shop):
    nodes = [
        LINEAR,
        NODE("Exp", ["z"], ["e"]),
        NODE("ReduceSum", ["e", "axis"], ["t"], keepdims=1),
        NODE("Div", ["e", "t"], ["p"]),
    ]
    with pytest.raises(RecipeError, match="in an unknown form"):
        shop.repair(model(nodes, {"p": SCORES}, {"axis": np.array([0])}))


def test_an_end_that_was_told_wrongly_is_found_out_by_what_the_file_returns(shop):
    nodes = [LINEAR, NODE("Softmax", ["z"], ["q"]), NODE("Sqrt", ["q"], ["p"])]
    file = model(nodes, {"p": SCORES})
    with pytest.raises((StageFailed, RecipeError)):
        shop.repair(file, reading=Reading(scores="probabilities"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (np.where(np.arange(400)[:, None] == 3, np.nan, x).astype(np.float32), y), "NaN"),
        (lambda x, y: (x, y + 1), "labels span 1..3"),
        (lambda x, y: (x[:1], y[:1]), "too few"),
        (
            lambda x, y: (x.astype(np.float64), y),
            r"the inputs are float64 \[400, 6\], the model takes float32",
        ),
        (lambda x, y: (x[:, :5], y), r"\[400, 5\], the model takes float32 \[any, 6\]"),
    ],
)
def test_data_that_cannot_be_scored_is_refused_with_what_is_wrong(tmp_path, change, message):
    onnx.save(model([LINEAR], {"z": SCORES}), tmp_path / "given.onnx")
    inputs, labels = change(INPUTS, LABELS)
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=labels)
    with pytest.raises(RecipeError, match=message):
        repair(tmp_path / "given.onnx", DataOptions(tmp_path / "data.npz"), RepairOptions())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"\x93NUMPY"])
def test_data_that_cannot_be_read_is_refused(tmp_path, content):
    onnx.save(model([LINEAR], {"z": SCORES}), tmp_path / "given.onnx")
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(RecipeError, match="cannot be read"):
        repair(tmp_path / "given.onnx", DataOptions(tmp_path / "data.npz"), RepairOptions())


def test_bias_of_logits_that_balance_is_nothing():
    logits, labels = np.array([[2.0, 0], [0, 2.0]] * 4), np.array([0, 1, 0, 1, 0, 1, 1, 0])
    assert bias(logits, labels, ("a", "b")).affine.bias == pytest.approx((0, 0))


def test_a_wrong_map_of_another_kind_is_not_called_calibrated():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3000, 3))
    logits[:1500] *= 6
    labels = np.where(
        np.arange(3000) < 1500,
        (logits / 12 + generator.gumbel(size=logits.shape)).argmax(axis=1),
        (logits * 4 + generator.gumbel(size=logits.shape)).argmax(axis=1),
    )
    t = measure(
        SavedPredictions(logits, labels, ("a", "b", "c")), RepairOptions(), source="x"
    ).calibration.temperature
    found = measure(SavedPredictions(logits / t, labels, ("a", "b", "c")), RepairOptions(), source="x")
    assert not any("was calibrated already" in one for one in found.sentences)
    assert any("of another kind" in one for one in found.sentences)


def test_logits_that_are_returned_beside_probabilities_are_calibrated_too(shop):
    """The form of our own exports."""
    outputs = {"logits": SCORES, "probabilities": SCORES}
    nodes = [NODE("MatMul", ["x", "w"], ["logits"]), NODE("Softmax", ["logits"], ["probabilities"])]
    found = shop.repair(model(nodes, outputs))
    assert found.calibration.fold == "folded"
    returned = shop.run(shop.output)
    np.testing.assert_allclose(returned["logits"], LOGITS / found.calibration.temperature, atol=1e-4)
    np.testing.assert_allclose(
        returned["probabilities"], softmax(returned["logits"].astype(float)), atol=1e-5
    )


def test_dictionaries_of_a_zipmap_are_calibrated(shop):
    """scikit-learn's default form."""
    nodes = [
        LINEAR,
        NODE("Softmax", ["z"], ["p"]),
        NODE("ZipMap", ["p"], ["named"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    file = model(nodes, {}, domains=("ai.onnx.ml",))
    entry = file.graph.output.add(name="named").type.sequence_type.elem_type.map_type
    entry.key_type = TensorProto.INT64
    entry.value_type.tensor_type.elem_type = TensorProto.FLOAT
    found = shop.repair(file)
    returned = shop.run(shop.output)["named"]
    expected = softmax(LOGITS / found.calibration.temperature)
    np.testing.assert_allclose([[row[c] for c in range(3)] for row in returned], expected, atol=1e-5)
