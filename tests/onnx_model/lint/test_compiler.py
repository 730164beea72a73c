"""The linter against NVIDIA's own parser and builder, TensorRT for RTX, on this machine's CPU."""

from __future__ import annotations

import onnx
import pytest
from lint_graphs import BAD, GOOD, TAKEN_THOUGH_WRONG, built

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.lint.check import findings
from calkd_edge.onnx_model.lint.compiled import compiled
from calkd_edge.onnx_model.lint.operators import SUPPORTED

trt = pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")

WITHOUT_PLUGINS = {"DeformConv"}
"""TensorRT has these as plugins, which the compiler for RTX does not bring."""


def verdict(change, tmp_path):
    model = built(change)
    onnx.save(model, tmp_path / "model.onnx")
    errors = [one for one in findings(model) if one.severity == "error"]
    return errors, compiled(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", GOOD)
def test_both_take_a_good_file_and_every_layer_is_int8(name, tmp_path):
    errors, plan = verdict(GOOD[name], tmp_path)
    assert not errors
    assert not plan.errors
    assert plan.weighted == {"Int8": 2}


@pytest.mark.parametrize("name", BAD)
def test_both_refuse_a_bad_file(name, tmp_path):
    errors, plan = verdict(BAD[name][0], tmp_path)
    assert errors
    assert plan.errors
    assert plan.kernels == 0


@pytest.mark.parametrize("name", TAKEN_THOUGH_WRONG)
def test_what_the_compiler_takes_and_should_not_is_known(name, tmp_path):
    errors, plan = verdict(TAKEN_THOUGH_WRONG[name][0], tmp_path)
    assert errors
    assert not plan.errors, "the compiler refuses it now: move it to BAD"


@pytest.mark.parametrize("name", ["only the weight quantized", "scales along the wrong axis"])
def test_what_is_half_quantized_runs_in_float(name, tmp_path):
    assert verdict(TAKEN_THOUGH_WRONG[name][0], tmp_path)[1].weighted == {"Float": 1, "Int8": 1}


def test_operators_of_the_table_are_those_of_the_parser():
    logger = trt.Logger()
    parser = trt.OnnxParser(trt.Builder(logger).create_network(0), logger)
    assert {name for name in SUPPORTED if not parser.supports_operator(name)} == WITHOUT_PLUGINS


def test_an_unknown_card_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(RecipeError, match="SM87: not known") as refused:
        compiled(tmp_path / "model.onnx", "SM87")
    assert "SM86" in refused.value.remedy
