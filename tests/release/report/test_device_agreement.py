"""Conclusions on one model on two devices."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge.release.report.conclusions import conclusions


def sentences(rows) -> list[str]:
    return [sentence for sentence in conclusions(rows) if " agree on " in sentence]


def test_a_board_is_compared_with_local_image_by_image(maker):
    local, noisy = maker.predictions(images=1000), maker.predictions(images=400, noise=0.5)
    rows = [maker.evidence(local), maker.evidence(noisy, device="board")]
    same = int((noisy.logits.argmax(1) == local.logits[:400].argmax(1)).sum())
    right = [(p.logits[:400].argmax(1) == p.labels[:400]).mean() for p in (noisy, local)]
    (sentence,) = sentences(rows)
    assert sentence.startswith(f"Student fp32 on board and local agree on {100 * same / 400:.1f} %")
    assert "of 400 images" in sentence, "the common images"
    assert f"top-1 is {100 * (right[0] - right[1]):.2f} %" in sentence
    gap = np.abs(noisy.logits.astype(np.float64) - local.logits[:400]).max()
    assert f"largest difference between two logits is {gap:.2g}" in sentence


def test_equal_answers_agree_on_every_image(maker):
    p = maker.predictions(images=1000)
    (sentence,) = sentences([maker.evidence(p), maker.evidence(p, device="board")])
    assert "agree on 100.0 % [99.7 %, 100.0 %]" in sentence
    assert "largest difference between two logits is 0." in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "int8", "device": "board"},
        {"model": "teacher", "device": "board"},
        {"calibrated": False, "device": "board"},
        {},
    ],
)
def test_without_a_counterpart_on_local_there_is_no_sentence(maker, changes):
    p = maker.predictions(images=1000)
    assert not sentences([maker.evidence(p), maker.evidence(p, **changes)][: 2 if changes else 1])
