"""A trial's folder: gone after it, and what a killed one left is removed by the next."""

from __future__ import annotations

import os
import tempfile

from calkd_edge.agent.trial import LEFT_S, PREFIX, Trial


def test_folders_that_killed_trials_left_are_removed_and_young_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, young, other = (tmp_path / f"{name}x" for name in (f"{PREFIX}1", f"{PREFIX}2", "calkd-other"))
    for folder in (left, young, other):
        (folder / "cache").mkdir(parents=True)
    for folder in (left, other):
        old = folder.stat().st_mtime - LEFT_S - 1
        os.utime(folder, (old, old))
    assert Trial(lambda: "works").result() == "works"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([young.name, other.name])
