"""Without a network, everything works that asks for no data set and no weights from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

CUT_OFF = ("unshare", "--net", "--map-root-user")
"""A network with nothing in it, not even loopback that is up."""


@pytest.fixture(scope="module")
def cut_off():
    if shutil.which(CUT_OFF[0]) is None or subprocess.run([*CUT_OFF, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody cut a process off the network")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [*CUT_OFF, sys.executable, "-m", "calkd_edge", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)

    return run


def test_a_run_its_bundle_and_its_models_need_no_network(cut_off, tiny, tmp_path):
    fresh = ("--fresh", "predict-student-fp32@local")
    for line in (
        ("compress", "--recipe", tiny.recipe, "--store", tiny.store, "--out", tmp_path, *fresh),
        ("verify", tmp_path, "--run"),
        ("evaluate", tmp_path / "models/student.int8.cpu.onnx", "--data", "synthetic"),
        ("doctor",),
    ):
        done = cut_off(*line)
        assert done.returncode == 0, (line[0], done.stderr[-2000:])
