"""Two processes that time models on one machine."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from calkd_edge.agent import board_lock
from calkd_edge.agent.board_lock import BoardLock
from calkd_edge.agent.problem import AgentProblem

HOLDER = """
import sys, time
from calkd_edge.agent.board_lock import BoardLock
with BoardLock("anna@desk"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that measures."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(board_lock.tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_measurement_beside_another_is_refused_and_the_other_is_named(holder, capsys):
    with (
        pytest.raises(AgentProblem, match=r"anna@desk measures on this machine"),
        BoardLock("me", wait_s=0.2),
    ):
        pass
    assert capsys.readouterr().out == "calkd-waiting anna@desk\n"


def test_measurement_goes_on_when_the_other_was_killed(holder):
    holder.kill()
    start = time.monotonic()
    with BoardLock("me", wait_s=30):
        assert time.monotonic() - start < 20
    with BoardLock("me again", wait_s=0):
        pass


def test_machine_without_a_place_for_the_lock_measures_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(board_lock.tempfile, "tempdir", str(tmp_path / "nowhere"))
    with BoardLock("me", wait_s=0), BoardLock("me too", wait_s=0):
        pass
