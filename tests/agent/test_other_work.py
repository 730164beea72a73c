"""How much others use the processors, from the system's counters; nothing where it has none."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from calkd_edge.agent.machine import Machine
from calkd_edge.agent.other_work import OtherWork, busy_seconds


def test_busy_loop_of_another_process_counts_and_an_own_one_does_not():
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        others = OtherWork(Machine())
        end = time.perf_counter() + 1.5
        while time.perf_counter() < end:
            pass
        with_loop = others.cores()
    finally:
        loop.kill()
        loop.wait()
    assert with_loop > 0.5 * min(1, (os.cpu_count() or 1) - 1)


@pytest.mark.parametrize("text", ["", "cpu", "cpu  1 2 x 4 5 6 7 8", "intr 1 2 3 4 5 6 7 8 9"])
def test_system_that_does_not_tell_gives_none(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text(text)
    machine = Machine(str(tmp_path))
    assert busy_seconds(machine) is None
    assert OtherWork(machine).cores() is None


def test_idle_and_waiting_do_not_count(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text("cpu  100 10 50 9000 700 5 5 30 0 0\ncpu0 1 1 1 1 1 1 1 1\n")
    assert busy_seconds(Machine(str(tmp_path))) == 200 / os.sysconf("SC_CLK_TCK")
