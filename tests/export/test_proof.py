"""prove and check_probabilities: what they let pass and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from proofs import calibration, predictions

from calkd_edge.errors import StageFailed
from calkd_edge.export.proof import ROUNDINGS, check_probabilities, prove, roundoff_of
from calkd_edge.records import Affine, Predictions


def test_proof_refuses_another_temperature_and_a_missing_fold():
    raw = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 5
    for wrong in (raw, raw * np.float32(0.5001)):
        with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
            prove(predictions(raw), predictions(wrong), calibration(Affine(scale=(0.5,))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_proof_refuses_what_is_not_finite(value):
    raw = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    broken = raw * np.float32(0.5)
    broken[3, 2] = value
    with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
        prove(predictions(raw), predictions(broken), calibration(Affine(scale=(0.5,))))


def test_proof_refuses_different_images():
    raw = np.zeros((4, 3), np.float32)
    with pytest.raises(StageFailed, match="different images"):
        prove(predictions(raw), predictions(raw, start=10), calibration(Affine(scale=(0.5,))))


def test_a_near_tie_may_swap_and_is_counted():
    raw = np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]], np.float32)
    returned = raw * np.float32(0.5) + np.array([[-1e-6, 1e-6, 0], [0, 0, 0]], np.float32)
    proof = prove(predictions(raw), predictions(returned), calibration(Affine(scale=(0.5,))))
    assert (proof.near_ties, proof.argmax_changes) == (1, 0)


def test_probabilities_must_be_the_softmax_of_the_logits():
    logits = np.array([[2.0, 0.0, -1.0]], np.float32)
    right = np.exp(logits) / np.exp(logits).sum()
    check_probabilities(Predictions(logits, np.zeros(1, np.int64), np.arange(1), right))
    for wrong in (right + np.array([[2e-3, 0, 0]]), right * np.nan, None):
        with pytest.raises(StageFailed):
            check_probabilities(Predictions(logits, np.zeros(1, np.int64), np.arange(1), wrong))


def test_another_build_may_round_differently_and_must_be_calibrated():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 10)).astype(np.float32) * 4
    half = calibration(Affine(scale=(0.5,)))
    noise = generator.normal(size=logits.shape).astype(np.float32) * 0.02
    proof = prove(predictions(logits), predictions(0.5 * logits + noise), half, another_build=True)
    assert proof.max_logit_difference > proof.tolerance  # reported, but no reason to fail
    for wrong in (logits, 0.25 * logits, -0.5 * logits, np.full_like(logits, np.nan), 0.5 * logits[:, ::-1]):
        with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
            prove(predictions(logits), predictions(wrong), half, another_build=True)


@pytest.mark.parametrize(("precision", "bits"), [("f16", 11), ("bf16", 8)])
def test_a_coarser_runtime_may_round_and_must_be_calibrated(precision, bits):
    raw = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32) * 5
    roundoff = roundoff_of({"inference_precision": precision})
    assert roundoff == 2.0**-bits
    half = calibration(Affine(scale=(0.5,)))
    mantissa, exponent = np.frexp(0.5 * raw)
    rounded = np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype(np.float32)
    prove(predictions(raw), predictions(rounded), half, rounding=ROUNDINGS * roundoff)
    off = 1 + 2 * ROUNDINGS * roundoff
    for wrong in (raw, rounded * np.float32(off), rounded[:, ::-1]):
        with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
            prove(predictions(raw), predictions(wrong), half, rounding=ROUNDINGS * roundoff)
    with pytest.raises(StageFailed, match="differ from its calibration applied in numpy"):
        prove(predictions(raw), predictions(rounded), half)


def test_probabilities_of_a_coarser_runtime_must_be_a_softmax_too():
    logits = np.array([[2.0, 0.0, -1.0]], np.float32)
    right = np.exp(logits) / np.exp(logits).sum()
    for error, passes in ((4e-3, True), (5e-2, False)):
        returned = right + np.array([[error, -error, 0]], np.float32)
        given = Predictions(logits, np.zeros(1, np.int64), np.arange(1), returned)
        if passes:
            check_probabilities(given, roundoff=roundoff_of({"inference_precision": "bf16"}))
            continue
        with pytest.raises(StageFailed):
            check_probabilities(given, roundoff=roundoff_of({"inference_precision": "bf16"}))
