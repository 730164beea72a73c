"""The linter compared with NVIDIA's parser and builder, TensorRT for RTX, on this machine's CPU."""

from __future__ import annotations

import onnx
import pytest
from lint_graphs import ACCEPTED_BY_COMPILER, BAD, GOOD, built

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.lint.compilation import compile_file
from calkd_edge.onnx_model.lint.linter import findings
from calkd_edge.onnx_model.lint.operators import SUPPORTED

trt = pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")

WITHOUT_PLUGINS = {"DeformConv"}
"""TensorRT has these as plugins, which the compiler for RTX lacks."""


def verdict(change, tmp_path):
    model = built(change)
    onnx.save(model, tmp_path / "model.onnx")
    errors = [finding for finding in findings(model) if finding.severity == "error"]
    return errors, compile_file(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", GOOD)
def test_both_accept_a_good_file_and_every_layer_is_int8(name, tmp_path):
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


@pytest.mark.parametrize("name", ACCEPTED_BY_COMPILER)
def test_the_linter_reports_what_the_compiler_accepts_wrongly(name, tmp_path):
    errors, plan = verdict(ACCEPTED_BY_COMPILER[name][0], tmp_path)
    assert errors
    assert not plan.errors, "the compiler refuses it now: move the case to BAD"


@pytest.mark.parametrize("name", ["only the weight quantized", "scales along the wrong axis"])
def test_a_half_quantized_layer_runs_in_float(name, tmp_path):
    assert verdict(ACCEPTED_BY_COMPILER[name][0], tmp_path)[1].weighted == {"Float": 1, "Int8": 1}


def test_the_operator_table_agrees_with_the_parser():
    logger = trt.Logger()
    parser = trt.OnnxParser(trt.Builder(logger).create_network(0), logger)
    assert {name for name in SUPPORTED if not parser.supports_operator(name)} == WITHOUT_PLUGINS


def test_an_unknown_capability_is_refused_with_the_valid_ones(tmp_path):
    with pytest.raises(RecipeError, match="SM87 is not supported") as refused:
        compile_file(tmp_path / "model.onnx", "SM87")
    assert "SM86" in refused.value.remedy
