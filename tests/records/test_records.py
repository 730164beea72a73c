"""Records: frozen, strict, equal after saving and loading; the affine by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from calkd_edge import records
from calkd_edge.records import Affine, Calibration, FoldProof, Predictions, Record

LOGITS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
scales = st.floats(0.05, 20)


def test_temperature_divides():
    affine = Affine(scale=(0.5,))
    np.testing.assert_array_equal(affine.apply(LOGITS), LOGITS.astype(np.float64) / 2)
    assert affine.temperature == 2.0
    assert affine.apply(LOGITS).dtype == np.float64


def test_vector_scales_and_shifts_each_class():
    affine = Affine(scale=(1.0, 2.0, -3.0), bias=(0.0, 1.0, 2.0))
    np.testing.assert_allclose(affine.apply(np.ones((1, 3))), [[1.0, 3.0, -1.0]])
    assert affine.temperature is None


def test_matrix_mixes_the_classes_row_by_row():
    matrix = np.arange(9, dtype=float).reshape(3, 3)
    affine = Affine(scale=tuple(matrix.ravel()), bias=(1.0, 0.0, 0.0))
    expected = np.stack([matrix @ row for row in LOGITS.astype(np.float64)]) + [1.0, 0.0, 0.0]
    np.testing.assert_allclose(affine.apply(LOGITS), expected, rtol=1e-12)


@settings(max_examples=50)
@given(st.lists(scales, min_size=3, max_size=3), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_undo_reverts_a_vector(scale, bias):
    affine = Affine(scale=tuple(scale), bias=tuple(bias))
    np.testing.assert_allclose(affine.undo(affine.apply(LOGITS)), LOGITS, atol=1e-9)


@given(scales)
def test_undo_reverts_a_temperature(scale):
    affine = Affine(scale=(scale,))
    np.testing.assert_allclose(affine.undo(affine.apply(LOGITS)), LOGITS, atol=1e-12)


def test_undo_reverts_a_matrix():
    matrix = np.eye(3) + 0.2 * np.random.default_rng(1).normal(size=(3, 3))
    affine = Affine(scale=tuple(matrix.ravel()), bias=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(affine.undo(affine.apply(LOGITS)), LOGITS, atol=1e-12)


@pytest.mark.parametrize(
    ("affine", "identity", "temperature"),
    [
        (Affine(scale=(1.0,)), True, 1.0),
        (Affine(scale=(1.0,), bias=(0.0, 0.0, 0.0)), True, 1.0),
        (Affine(scale=(1.0,), bias=(0.0, 0.1, 0.0)), False, None),
        (Affine(scale=(-1.0,)), False, None),
        (Affine(scale=(0.25,)), False, 4.0),
    ],
)
def test_identity_and_temperature_are_recognised(affine, identity, temperature):
    assert affine.is_identity is identity
    assert affine.temperature == temperature


@pytest.mark.parametrize("probabilities", [None, np.full((6, 3), 1 / 3, np.float32)])
def test_predictions_are_equal_after_saving_and_loading(tmp_path, probabilities):
    stored = Predictions(LOGITS, np.arange(6) % 3, np.arange(100, 106), probabilities)
    stored.save(tmp_path / "test.npz")
    loaded = Predictions.load(tmp_path / "test.npz")
    for name in ("logits", "labels", "indices", "probabilities"):
        before, after = getattr(stored, name), getattr(loaded, name)
        if before is None:
            assert after is None
        else:
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype


def test_predictions_are_never_unpickled(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "bad.npz", logits=objects, labels=objects, indices=objects)
    with pytest.raises(ValueError, match="allow_pickle"):
        Predictions.load(tmp_path / "bad.npz")


def every_record() -> list[type[Record]]:
    classes = [
        value for value in vars(records).values() if isinstance(value, type) and issubclass(value, Record)
    ]
    return [kind for kind in classes if kind is not Record]


@pytest.mark.parametrize("kind", every_record(), ids=lambda kind: kind.__name__)
def test_every_record_is_frozen_strict_and_documented(kind):
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    assert kind.__doc__
    json.dumps(kind.model_json_schema())


def test_unknown_keys_and_changes_are_refused():
    with pytest.raises(ValidationError, match="colour"):
        Affine.model_validate({"scale": [1.0], "colour": "red"})
    with pytest.raises(ValidationError, match="frozen"):
        Affine(scale=(1.0,)).scale = (2.0,)


def test_calibration_is_equal_after_json():
    calibration = Calibration(
        method="vector",
        scale=(0.1 + 0.2, 1 / 3),
        bias=(1e-17, -2.5),
        temperature=None,
        se=(0.01, 0.02),
        status="ok",
        split="calibration",
        images=500,
        nll_before=1.0,
        nll_after=0.9,
        proof=FoldProof(
            images=10,
            max_logit_difference=1e-7,
            tolerance=4e-6,
            max_probability_difference=1e-8,
            argmax_changes=0,
            near_ties=1,
        ),
    )
    again = Calibration.model_validate_json(calibration.model_dump_json())
    assert again == calibration
    assert again.affine == Affine(scale=(0.1 + 0.2, 1 / 3), bias=(1e-17, -2.5))
