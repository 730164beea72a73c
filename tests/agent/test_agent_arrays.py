"""What the agent writes on a board whose clock was never set."""

from __future__ import annotations

import time

import numpy as np
import pytest

from calkd_edge.agent.arrays import write_arrays


def test_arrays_are_written_by_a_machine_in_1970(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 120.0)
    with pytest.raises(ValueError, match="1980"):
        np.savez(tmp_path / "plain.npz", logits=np.zeros(3))
    write_arrays(str(tmp_path / "outputs.npz"), {"file": np.arange(4), "logits": np.ones((2, 3))}.items())
    stored = np.load(tmp_path / "outputs.npz", allow_pickle=False)
    assert set(stored.files) == {"file", "logits"}
    np.testing.assert_array_equal(stored["file"], np.arange(4))
