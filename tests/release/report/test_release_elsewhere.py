"""What the report says of one model on two devices."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge.release.report.conclusions import conclusions


def said(rows) -> list[str]:
    return [sentence for sentence in conclusions(rows) if "guess alike" in sentence]


def test_a_board_is_held_against_home_image_by_image(maker):
    home, noisy = maker.predictions(images=1000), maker.predictions(images=400, noise=0.5)
    rows = [maker.evidence(home), maker.evidence(noisy, device="board")]
    same = int((noisy.logits.argmax(1) == home.logits[:400].argmax(1)).sum())
    right = [(one.logits[:400].argmax(1) == one.labels[:400]).mean() for one in (noisy, home)]
    (sentence,) = said(rows)
    assert sentence.startswith(f"Student fp32 on board and local guess alike on {100 * same / 400:.1f} %")
    assert "of 400 images" in sentence, "those that both saw"
    assert f"top-1 is {100 * (right[0] - right[1]):.2f} %" in sentence
    gap = np.abs(noisy.logits.astype(np.float64) - home.logits[:400]).max()
    assert f"differs by more than {gap:.2g}" in sentence


def test_the_same_answers_are_told_as_such(maker):
    p = maker.predictions(images=1000)
    (sentence,) = said([maker.evidence(p), maker.evidence(p, device="board")])
    assert "guess alike on 100.0 % [99.7 %, 100.0 %]" in sentence
    assert "no logit differs by more than 0" in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "int8", "device": "board"},
        {"model": "teacher", "device": "board"},
        {"calibrated": False, "device": "board"},
        {},
    ],
)
def test_nothing_is_said_without_a_counterpart_at_home(maker, changes):
    p = maker.predictions(images=1000)
    assert not said([maker.evidence(p), maker.evidence(p, **changes)][: 2 if changes else 1])
