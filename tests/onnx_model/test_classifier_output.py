"""Outputs of classifiers from other exporters, recognised by operators and shapes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.classifier_output import find_output
from calkd_edge.onnx_model.fold import LogitsValue, fold_at
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.onnx_model.logit_readers import refuse_other_readers
from calkd_edge.onnx_model.outputs import adopt_outputs
from calkd_edge.records import Affine

WEIGHT = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
INPUT = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
LOGITS = INPUT.astype(np.float64) @ WEIGHT
LINEAR = helper.make_node("MatMul", ["x", "w"], ["z"])
VECTOR = Affine(scale=(0.5, 0.7, 1.2), bias=(0.1, 0.0, -0.3))
TEMPERATURE = Affine(scale=(0.4,))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def model(nodes, outputs, stored=None, *, domains=()) -> onnx.ModelProto:
    values = {"w": WEIGHT, **(stored or {})}
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


SCORES = (TensorProto.FLOAT, ["batch", 3])
INDEX = (TensorProto.INT64, ["batch"])
NODE = helper.make_node
WRITTEN_OUT = [
    LINEAR,
    NODE("ReduceMax", ["z", "axis"], ["most"], keepdims=1),
    NODE("Max", ["least", "most"], ["bounded"]),
    NODE("Sub", ["z", "bounded"], ["shifted"]),
    NODE("Exp", ["shifted"], ["power"]),
    NODE("ReduceSum", ["power", "axis"], ["total"], keepdims=1),
    NODE("Expand", ["total", "wide"], ["totals"]),
    NODE("Div", ["power", "totals"], ["p"]),
]
WRITTEN = {
    "axis": np.array([1], np.int64),
    "least": np.array(-np.inf, np.float32),
    "wide": np.array([1, 3], np.int64),
}
FILES = {
    "logits": (model([LINEAR], {"z": SCORES}), "logits", 0),
    "softmax": (model([LINEAR, NODE("Softmax", ["z"], ["p"])], {"p": SCORES}), "softmax", 1),
    "softmax, renamed on its way out": (
        model([LINEAR, NODE("Softmax", ["z"], ["s"]), NODE("Identity", ["s"], ["p"])], {"p": SCORES}),
        "softmax",
        1,
    ),
    "softmax twice": (
        model([LINEAR, NODE("Softmax", ["z"], ["s"]), NODE("Softmax", ["s"], ["p"])], {"p": SCORES}),
        "softmax",
        2,
    ),
    "log of a softmax": (
        model([LINEAR, NODE("LogSoftmax", ["z"], ["p"])], {"p": SCORES}),
        "log_softmax",
        1,
    ),
    "softmax written out": (model(WRITTEN_OUT, {"p": SCORES}, WRITTEN), "softmax", 1),
    "softmax and the class it names": (
        model(
            [
                LINEAR,
                NODE("Softmax", ["z"], ["p"]),
                NODE("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
            ],
            {"label": INDEX, "p": SCORES},
        ),
        "softmax",
        1,
    ),
    "probabilities of a normalizer": (
        model(
            [
                LINEAR,
                NODE("Abs", ["z"], ["a"]),
                NODE("Normalizer", ["a"], ["p"], domain="ai.onnx.ml", norm="L1"),
            ],
            {"p": SCORES},
            domains=("ai.onnx.ml",),
        ),
        "probabilities",
        0,
    ),
}


def shipped(name) -> np.ndarray:
    """The confidence that a file's user gets."""
    if name == "softmax twice":
        return softmax(softmax(LOGITS))
    if name == "probabilities of a normalizer":
        return np.abs(LOGITS) / np.abs(LOGITS).sum(axis=1, keepdims=True)
    return softmax(LOGITS)


@pytest.mark.parametrize("name", FILES)
def test_the_output_is_recognised_and_the_adopted_file_returns_its_confidence(execute, name):
    file, kind, softmaxes = FILES[name]
    output = find_output(file)
    assert (output.kind, output.softmaxes, output.classes) == (kind, softmaxes, 3)
    adopted = adopt_outputs(file)
    onnx.checker.check_model(adopted)
    outputs = execute(adopted, INPUT)
    np.testing.assert_allclose(outputs["probabilities"], shipped(name), atol=1e-6)
    np.testing.assert_allclose(softmax(outputs["logits"].astype(float)), shipped(name), atol=1e-6)


@pytest.mark.parametrize("affine", [TEMPERATURE, VECTOR], ids=["temperature", "vector"])
@pytest.mark.parametrize("name", FILES)
def test_calibrating_a_file_of_any_form_calibrates_its_output(execute, name, affine):
    file, kind, _ = FILES[name]
    output = find_output(file)
    before = execute(adopt_outputs(file), INPUT)["logits"]
    folded = copy_of(file)
    how = fold_at(
        folded,
        affine,
        LogitsValue.of(output),
    )
    onnx.checker.check_model(folded, full_check=True)
    assert [one.name for one in folded.graph.output] == [one.name for one in file.graph.output]
    by_hand = affine.apply(before)
    returned = execute(folded, INPUT)[file.graph.output[-1].name]
    expected = {"logits": by_hand, "log_softmax": np.log(softmax(by_hand))}.get(kind, softmax(by_hand))
    np.testing.assert_allclose(returned, expected, atol=2e-6)
    has_bias_to_take = affine is TEMPERATURE
    folds = kind != "probabilities" and name != "softmax twice" and has_bias_to_take
    assert how.how == ("folded" if folds else "nodes_appended")
    again = execute(adopt_outputs(folded), INPUT)
    np.testing.assert_allclose(softmax(again["logits"].astype(float)), softmax(by_hand), atol=2e-6)


def test_weights_in_constant_nodes_are_folded(execute):
    """As an older exporter writes them."""
    stored = [
        NODE("Constant", [], ["w2"], value=numpy_helper.from_array(WEIGHT)),
        NODE("Constant", [], ["b"], value=numpy_helper.from_array(np.array([1.0, 0, -1], np.float32))),
        NODE("MatMul", ["x", "w2"], ["h"]),
        NODE("Add", ["h", "b"], ["z"]),
        NODE("Softmax", ["z"], ["p"]),
    ]
    file = model(stored, {"p": SCORES})
    folded = copy_of(file)
    assert fold_at(folded, VECTOR, LogitsValue("z", 3)) == ("folded", None)
    by_hand = VECTOR.apply(LOGITS + np.array([1.0, 0, -1]))
    np.testing.assert_allclose(execute(folded, INPUT)["p"], softmax(by_hand), atol=1e-6)


def test_logits_with_axes_behind_them_take_a_vector_along_their_classes(execute):
    """A convolutional head that returns [N, C, 1, 1] behind something no calibration folds into."""
    nodes = [
        LINEAR,
        NODE("Tanh", ["z"], ["t"]),
        NODE("Reshape", ["t", "shape"], ["deep"]),
        NODE("Softmax", ["deep"], ["p"], axis=1),
    ]
    file = model(nodes, {"p": (TensorProto.FLOAT, ["batch", 3, 1, 1])}, {"shape": np.array([-1, 3, 1, 1])})
    output = find_output(file)
    assert (output.classes, output.trailing_axes) == (3, 2)
    folded = copy_of(file)
    how = fold_at(folded, VECTOR, LogitsValue(output.logits, 3, trailing_axes=output.trailing_axes))
    assert how == ("nodes_appended", "a Tanh makes the logits")
    expected = softmax(VECTOR.apply(np.tanh(LOGITS)))
    np.testing.assert_allclose(execute(folded, INPUT)["p"][:, :, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(execute(adopt_outputs(folded), INPUT)["probabilities"], expected, atol=1e-6)


def test_a_zipmap_of_scikit_learn_is_followed():
    nodes = [
        LINEAR,
        NODE("Softmax", ["z"], ["p"]),
        NODE("ZipMap", ["p"], ["named"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    file = model(nodes, {}, domains=("ai.onnx.ml",))
    entry = file.graph.output.add(name="named").type.sequence_type.elem_type.map_type
    entry.key_type = TensorProto.INT64
    entry.value_type.tensor_type.elem_type = TensorProto.FLOAT
    output = find_output(file)
    assert (output.logits, output.kind, output.classes) == ("z", "softmax", 3)


def test_an_unknown_kind_can_be_declared():
    file = FILES["logits"][0]
    assert find_output(file, scores="probabilities").kind == "probabilities"


TWO = model([LINEAR, NODE("Relu", ["z"], ["other"])], {"z": SCORES, "other": SCORES})


def test_of_several_outputs_one_must_be_named():
    with pytest.raises(RecipeError, match="2 outputs of scores among z .*, other") as refused:
        find_output(TWO)
    assert "--scores-output" in refused.value.remedy
    assert find_output(TWO, output="z").logits == "z"
    with pytest.raises(RecipeError, match="no output 'nothing'"):
        find_output(TWO, output="nothing")


def test_logits_that_feed_another_branch_are_refused():
    file = model([LINEAR, NODE("Tanh", ["z"], ["other"])], {"z": SCORES, "other": SCORES})
    output = find_output(file, output="z")
    with pytest.raises(RecipeError, match="also read by a Tanh"):
        refuse_other_readers(file, output)


def test_a_sigmoid_for_each_class_is_no_such_classifier():
    with pytest.raises(RecipeError, match="a sigmoid for each class"):
        find_output(model([LINEAR, NODE("Sigmoid", ["z"], ["p"])], {"p": SCORES}))


def test_a_file_that_does_not_say_how_many_classes_it_has_is_refused():
    open_ended = model([NODE("Identity", ["x"], ["z"])], {"z": (TensorProto.FLOAT, ["batch", "many"])})
    del open_ended.graph.input[0].type.tensor_type.shape.dim[1:]
    open_ended.graph.input[0].type.tensor_type.shape.dim.add(dim_param="many")
    with pytest.raises(RecipeError, match="does not declare its number of classes"):
        find_output(open_ended)


def branched() -> onnx.ModelProto:
    """A classifier with an If whose branches read numbers and a value of the graph around them."""

    def branch(name, number):
        made = helper.make_node("Add", ["z", number], [f"{name}_out"])
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["batch", 3])
        return helper.make_graph([made], name, [], [out])

    nodes = [
        LINEAR,
        NODE("If", ["yes"], ["y"], then_branch=branch("then", "up"), else_branch=branch("other", "down")),
        NODE("Softmax", ["y"], ["p"]),
    ]
    stored = {"yes": np.array(True), "up": np.full(3, 2.0, np.float32), "down": np.full(3, -2.0, np.float32)}
    return model(nodes, {"p": SCORES}, stored)


def test_numbers_that_only_a_branch_reads_stay_in_the_file(execute):
    file = branched()
    adopted = adopt_outputs(file)
    assert {tensor.name for tensor in adopted.graph.initializer} >= {"up", "down"}
    np.testing.assert_allclose(execute(adopted, INPUT)["probabilities"], softmax(LOGITS + 2), atol=1e-6)
    folded = copy_of(file)
    assert fold_at(folded, TEMPERATURE, LogitsValue("y", 3)) == ("nodes_appended", "a If makes the logits")
    expected = softmax(0.4 * (LOGITS + 2))
    np.testing.assert_allclose(execute(folded, INPUT)["p"], expected, atol=1e-6)


def test_a_layer_whose_logits_a_branch_reads_too_is_left_alone():
    file = branched()
    assert fold_at(file, TEMPERATURE, LogitsValue("y", 3)).how == "nodes_appended"
    nodes = [LINEAR, NODE("Identity", ["z"], ["logits"]), *list(branched().graph.node)[1:2]]
    beside = model(
        nodes, {"logits": SCORES, "y": SCORES}, {"yes": np.array(True), "up": WEIGHT[0], "down": WEIGHT[0]}
    )
    reason = fold_at(beside, TEMPERATURE, LogitsValue("logits", 3)).reason
    assert reason == "'z', before the logits, has another reader"


def test_a_model_with_several_inputs_is_refused():
    file = copy_of(FILES["softmax"][0])
    file.graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 2]))
    with pytest.raises(RecipeError, match=r"2 inputs \(x, state\)"):
        adopt_outputs(file)


def test_a_softmax_over_images_is_no_confidence():
    file = model([LINEAR, NODE("Softmax", ["z"], ["p"], axis=0)], {"p": SCORES})
    with pytest.raises(RecipeError, match="runs over axis 0 of its scores"):
        find_output(file)


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_files_of_older_opsets_are_calibrated_as_they_are(execute, opset):
    """Their softmax has another default axis, and the oldest know no negative one."""
    file = model([LINEAR, NODE("Softmax", ["z"], ["p"])], {"p": SCORES})
    file.opset_import[0].version = opset
    folded = copy_of(file)
    assert fold_at(folded, VECTOR, LogitsValue("z", 3)).how == "nodes_appended"
    onnx.checker.check_model(folded)
    expected = softmax(VECTOR.apply(LOGITS))
    np.testing.assert_allclose(execute(folded, INPUT)["p"], expected, atol=1e-6)
    np.testing.assert_allclose(execute(adopt_outputs(folded), INPUT)["probabilities"], expected, atol=1e-6)
