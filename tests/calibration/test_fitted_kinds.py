"""Calibrators declare what they fit, and the notices of a plan agree with what folding does."""

from __future__ import annotations

import copy
import doctest

import numpy as np
import pytest
from tiny_run import RECIPE

from calkd_edge.calibration import CALIBRATORS, fitted
from calkd_edge.calibration.fitted import Fitted, fits, fitted_kind
from calkd_edge.onnx_model.fold import fold
from calkd_edge.onnx_model.graph import copy_of
from calkd_edge.pipeline.checks import check
from calkd_edge.pipeline.notices import notices
from calkd_edge.pipeline.options import Options
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images
from calkd_edge.recipe.schema import parse
from calkd_edge.records import Affine

MATRIX = Affine(scale=tuple((np.eye(10) + 0.05).ravel()), bias=(0.0,) * 10)
NEGATIVE = Affine(scale=(*np.linspace(0.5, 1.5, 9), -0.2), bias=(0.0,) * 10)


@fits("matrix")
def mixes_classes(logits, labels, classes) -> Fitted:
    """A matrix that is always the same."""
    return Fitted(MATRIX, "constant", None, 1.0, 1.0, ())


@fits("vector")
def turns_a_class(logits, labels, classes) -> Fitted:
    """A vector with a negative scale, which int8 weights cannot hold."""
    return Fitted(NEGATIVE, "constant", None, 1.0, 1.0, ())


def undeclared(logits, labels, classes) -> Fitted:
    """The matrix, without a declaration."""
    return Fitted(MATRIX, "constant", None, 1.0, 1.0, ())


@pytest.fixture
def plugins():
    for calibrator in (mixes_classes, turns_a_class, undeclared):
        CALIBRATORS.add(calibrator.__name__, calibrator)
    yield
    for calibrator in (mixes_classes, turns_a_class, undeclared):
        del CALIBRATORS._added[calibrator.__name__]


def notices_of(tmp_path, calibrator: str, **changes) -> list[str]:
    recipe = {**copy.deepcopy(RECIPE), "calibrator": {"name": calibrator}, **changes}
    checked = check(parse(recipe, where="recipe.yaml"), "recipe.yaml")
    return notices(checked, Options(out=tmp_path / "out", store=tmp_path / "store"))


@pytest.mark.parametrize("name", list(CALIBRATORS))
def test_every_calibrator_fits_what_it_declares(name):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 5)) * 2
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    calibrator = CALIBRATORS.load(name)
    settings = CALIBRATORS.settings(name, {}, where="test")
    fit = calibrator(logits, labels, tuple("abcde"), **settings)
    assert fit.affine.kind(5) == fitted_kind(calibrator)


@pytest.mark.parametrize(
    ("calibrator", "notice"),
    [
        ("mixes_classes", "folded into fp32; two nodes after int8 weights, which hold no matrix (int8)"),
        ("turns_a_class", "if all its scales are positive, else two nodes after them (int8)"),
        ("undeclared", "folded if the fitted map allows it, else two nodes after the logits"),
    ],
)
def test_the_notice_about_a_plugin_agrees_with_its_fold(plugins, exported, tmp_path, calibrator, notice):
    sentences = notices_of(tmp_path, calibrator)
    (sentence,) = [sentence for sentence in sentences if sentence.startswith("Calibration (")]
    assert notice in sentence
    assert "every precision" not in sentence
    net = exported("resnet8")
    quantized = int8(net.proto, Images(lambda count: net.images[:count]), images=16)
    affine = CALIBRATORS.load(calibrator)(None, None, ()).affine
    assert fold(copy_of(net.proto), affine).how == "folded"
    assert fold(copy_of(quantized), affine).how == "nodes_appended"


@pytest.mark.parametrize(
    ("calibrator", "warns"), [("temperature", True), ("constant", True), ("mixes_classes", False)]
)
def test_only_a_temperature_gets_the_warning_about_standardized_logits(plugins, tmp_path, calibrator, warns):
    losses = [{"name": "kd", "weight": 1.0, "standardize": True}]
    sentences = notices_of(tmp_path, calibrator, distill={**RECIPE["distill"], "losses": losses})
    assert any("changes nothing for this student" in sentence for sentence in sentences) is warns


def test_the_example_of_fits_runs():
    globs = {**vars(fitted), "fits": fits}
    (example,) = doctest.DocTestFinder().find(fits, "fits", globs=globs)
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("name", list(CALIBRATORS))
def test_the_listed_source_of_a_calibrator_is_complete(name):
    assert CALIBRATORS.describe(name)["source"].endswith(".")
