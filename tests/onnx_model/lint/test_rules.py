"""Every rule finds what it is for, and nothing where nothing is wrong."""

from __future__ import annotations

import inspect

import numpy as np
import onnx
import pytest
from lint_graphs import BAD, GOOD, NODE, TAKEN_THOUGH_WRONG, behind, built, changed

from calkd_edge.onnx_model.lint import RULES
from calkd_edge.onnx_model.lint.check import findings
from calkd_edge.quantization.cpu import derive_for_cpu


def rules(model: onnx.ModelProto, target="tensorrt", severity="error") -> list[str]:
    return [one.rule for one in findings(model, target) if one.severity == severity]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_has_no_error(name):
    assert rules(built(GOOD[name])) == []


@pytest.mark.parametrize("name", {**BAD, **TAKEN_THOUGH_WRONG})
def test_a_bad_file_is_found_by_its_rule(name):
    change, rule = {**BAD, **TAKEN_THOUGH_WRONG}[name]
    assert rule in rules(built(change))


def test_what_is_found_says_where_why_and_what_to_do():
    (found,) = findings(built(BAD["a channel with scale 0"][0]))
    assert found.node == "dqw"
    assert found.message == "1 of 8 scales are not above zero and finite (the first: 0.0)"
    assert found.remedy


def test_the_same_thing_at_several_nodes_is_told_once_with_their_number():
    (found,) = [one for one in findings(built(changed(zero=np.int8(5)))) if one.rule == "zero-points"]
    assert found.places == 4


def test_warnings_and_notes_are_no_errors():
    assert rules(built(GOOD["quantized before the activation as well"]), severity="warning") == [
        "before-activation"
    ]
    assert rules(built(GOOD["-128 among the weights"]), severity="warning") == ["weight-range"]
    assert rules(built(GOOD["a fixed batch"]), severity="note") == ["sizes"]
    twice = behind(
        NODE("QuantizeLinear", ["before", "act", "zero"], ["a"], "q1"),
        NODE("DequantizeLinear", ["a", "act", "zero"], ["b"], "dq1"),
        NODE("QuantizeLinear", ["b", "act", "zero"], ["c"], "q2"),
        NODE("DequantizeLinear", ["c", "act", "zero"], ["d"], "dq2"),
        NODE("Identity", ["d"], ["logits"], "identity"),
    )
    assert "twice" in rules(built(twice), severity="warning")


def test_numbers_that_are_none_are_found():
    half = built(changed(bias=np.full(8, np.nan, np.float32)))
    assert rules(half) == ["numbers"]
    assert "numbers" in rules(half, "onnxruntime")


def test_sizes_that_are_open_besides_the_batch_are_found():
    model = built(GOOD["int8, per channel"])
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    assert "sizes" in rules(model)


def test_onnx_runtime_has_rules_of_its_own_which_the_derived_file_keeps():
    canonical = built(GOOD["int8, per channel"])
    assert rules(canonical, "onnxruntime") == []
    assert "rounded-biases" in rules(canonical, "onnxruntime", "warning")
    derived = derive_for_cpu(canonical)
    assert rules(derived, "onnxruntime") == []
    assert "rounded-biases" not in rules(derived, "onnxruntime", "warning")
    assert "quantized-types" in rules(derived), "it must never go to TensorRT"


def test_a_file_that_is_no_valid_onnx_is_an_error():
    model = built(GOOD["int8, per channel"])
    model.graph.node[0].input[0] = "nowhere"
    assert "valid" in rules(model)


def test_every_rule_says_what_it_is_for_and_is_listed_once():
    for listed in RULES.values():
        names = [rule.__name__ for rule in listed]
        assert len(set(names)) == len(names)
        assert all((inspect.getdoc(rule) or "").endswith(".") for rule in listed)
