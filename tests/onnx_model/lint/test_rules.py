"""Every rule reports its error, and nothing in a correct file."""

from __future__ import annotations

import inspect

import numpy as np
import onnx
import pytest
from lint_graphs import ACCEPTED_BY_COMPILER, BAD, GOOD, NODE, after, built, changed

from calkd_edge.onnx_model.lint import RULES
from calkd_edge.onnx_model.lint.linter import findings
from calkd_edge.quantization.cpu import derive_for_cpu


def rules(model: onnx.ModelProto, target="tensorrt", severity="error") -> list[str]:
    return [finding.rule for finding in findings(model, target) if finding.severity == severity]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_has_no_error(name):
    assert rules(built(GOOD[name])) == []


@pytest.mark.parametrize("name", {**BAD, **ACCEPTED_BY_COMPILER})
def test_a_bad_file_is_reported_by_its_rule(name):
    change, rule = {**BAD, **ACCEPTED_BY_COMPILER}[name]
    assert rule in rules(built(change))


def test_a_finding_holds_node_reason_and_remedy():
    (finding,) = findings(built(BAD["a channel with scale 0"][0]))
    assert finding.node == "dqw"
    assert finding.message == "1 of 8 scales are not positive and finite (the first: 0.0)"
    assert finding.remedy


def test_one_finding_at_several_nodes_is_listed_once_with_their_number():
    model = built(changed(zero=np.int8(5)))
    (finding,) = [finding for finding in findings(model) if finding.rule == "zero-points"]
    assert finding.places == 4


def test_warnings_and_notes_are_no_errors():
    assert rules(built(GOOD["quantized before the activation as well"]), severity="warning") == [
        "before-activation"
    ]
    assert rules(built(GOOD["-128 among the weights"]), severity="warning") == ["weight-range"]
    assert rules(built(GOOD["a fixed batch"]), severity="note") == ["sizes"]
    twice = after(
        NODE("QuantizeLinear", ["before", "act", "zero"], ["a"], "q1"),
        NODE("DequantizeLinear", ["a", "act", "zero"], ["b"], "dq1"),
        NODE("QuantizeLinear", ["b", "act", "zero"], ["c"], "q2"),
        NODE("DequantizeLinear", ["c", "act", "zero"], ["d"], "dq2"),
        NODE("Identity", ["d"], ["logits"], "identity"),
    )
    assert "twice" in rules(built(twice), severity="warning")


def test_stored_nans_are_reported():
    half = built(changed(bias=np.full(8, np.nan, np.float32)))
    assert rules(half) == ["numbers"]
    assert "numbers" in rules(half, "onnxruntime")


def test_open_sizes_besides_the_batch_are_reported():
    model = built(GOOD["int8, per channel"])
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    assert "sizes" in rules(model)


def test_the_derived_file_keeps_the_rules_of_onnx_runtime():
    canonical = built(GOOD["int8, per channel"])
    assert rules(canonical, "onnxruntime") == []
    assert "rounded-biases" in rules(canonical, "onnxruntime", "warning")
    derived = derive_for_cpu(canonical)
    assert rules(derived, "onnxruntime") == []
    assert "rounded-biases" not in rules(derived, "onnxruntime", "warning")
    assert "quantized-types" in rules(derived), "it must never go to TensorRT"


def test_invalid_onnx_is_an_error():
    model = built(GOOD["int8, per channel"])
    model.graph.node[0].input[0] = "nowhere"
    assert "valid" in rules(model)


def test_every_rule_is_documented_and_listed_once():
    for listed in RULES.values():
        names = [rule.__name__ for rule in listed]
        assert len(set(names)) == len(names)
        assert all((inspect.getdoc(rule) or "").endswith(".") for rule in listed)
