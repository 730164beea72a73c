"""Centred float16 keeps probabilities; what it cannot hold is refused; a pass that is cut loses little."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rot import flip
from scipy import special

from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.stages import soft_labels
from calkd_edge.stages.soft_labels import LARGEST_SPREAD, packed
from calkd_edge.stages.top_logits import bytes_per_row


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30), st.floats(-500, 500), st.integers(2, 100))
def test_probabilities_survive_to_two_in_ten_thousand(seed, scale, shift, classes):
    logits = (np.random.default_rng(seed).normal(size=(50, classes)) * scale + shift).astype(np.float32)
    stored, maxima = packed(logits)
    assert (stored.dtype, maxima.dtype) == (np.float16, np.float32)
    assert stored.shape == logits.shape
    assert maxima.shape == (50,)
    assert (stored.max(axis=1) == 0).all()
    restored = stored.astype(np.float32) + maxima[:, None]
    gap = special.softmax(restored.astype(np.float64), axis=1) - special.softmax(
        logits.astype(np.float64), axis=1
    )
    assert np.abs(gap).max() <= 2e-4


def test_what_centring_is_for():
    logits = (np.random.default_rng(0).normal(size=(500, 10)) * 3 + 40).astype(np.float32)
    plain = special.softmax(logits.astype(np.float16).astype(np.float64), axis=1)
    assert np.abs(plain - special.softmax(logits.astype(np.float64), axis=1)).max() > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value):
    logits = np.zeros((3, 4), np.float32)
    logits[1, 2] = value
    with pytest.raises(StageFailed, match="not finite"):
        packed(logits)


@pytest.mark.parametrize("spread", [1.001 * LARGEST_SPREAD, 1e9, 6e38])
def test_spread_beyond_float16_is_refused(spread):
    with pytest.raises(StageFailed, match="spread over"):
        packed(np.array([[spread / 2, -spread / 2]], np.float32))


def test_largest_spread_fits():
    stored, _ = packed(np.array([[0.0, -LARGEST_SPREAD]], np.float32))
    assert np.isfinite(stored).all()


class Killed(Exception):
    """As a kill would end it."""


@pytest.mark.parametrize("top", [None, 3])
def test_a_pass_that_is_cut_goes_on_with_the_next_piece(top, tiny, tmp_path, monkeypatch):
    """Within a view too: what was answered is not asked again, and the result is the same."""
    prints = {line["stage"]: line["fingerprint"] for line in tiny.report["plan"]}
    folders = {
        name: tiny.store / "objects" / prints[name][:2] / prints[name] for name in ("prepare", "teacher")
    }
    params = {
        "views": 2,
        "images_per_step": 32,
        "augmentation": {"name": "crop_pad", "settings": {"padding": 4}},
        "seed": 17,
        "top": top,
    }
    monkeypatch.setattr(soft_labels, "PIECE", 96)
    asked = []

    def job(name, stop_at=None):
        def progress(done, total):
            asked.append(done)
            if done == stop_at:
                raise Killed

        out, scratch = tmp_path / name, tmp_path / "scratch"
        out.mkdir()
        scratch.mkdir(exist_ok=True)
        inputs = {"data": folders["prepare"], "teacher": folders["teacher"]}
        return Job(params, {"accelerator": "cpu", "cache": "disk"}, inputs, out, scratch, progress)

    with pytest.raises(Killed):
        soft_labels.run(job("cut", stop_at=160))
    assert asked == [32, 64, 96, 128, 160]
    asked.clear()
    soft_labels.run(job("gone_on"))
    assert asked[0] == 128  # the first piece was kept, the second is asked whole
    kept = sorted((tmp_path / "scratch").glob("view-0-*.npz"))
    flip(kept[0])
    asked.clear()
    soft_labels.run(job("damaged"))
    assert len(asked) == 3  # the damaged piece alone
    shutil.rmtree(tmp_path / "scratch")
    soft_labels.run(job("whole"))
    first, *others = (arrays_of(tmp_path / name) for name in ("whole", "gone_on", "damaged"))
    assert first["logits.npy"].shape[:2] == (2, len(first["offsets.npy"][0]))
    for other in others:
        assert first.keys() == other.keys()
        assert all(np.array_equal(first[name], other[name]) for name in first)
    # What is stored is as much as the documentation and the plan's estimate count.
    stored = sum(array.nbytes for name, array in first.items() if name.endswith(".npy"))
    classes = json.loads((folders["prepare"] / "classes.json").read_text())["classes"]
    assert stored == first["offsets.npy"].size * bytes_per_row(len(classes), top)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """Every array that a pass has written, by file and name."""
    arrays = {path.name: np.load(path) for path in folder.glob("*.npy")}
    for path in folder.glob("*.npz"):
        with np.load(path) as stored:
            arrays.update({f"{path.name}:{name}": stored[name] for name in stored.files})
    return arrays
