"""The agent's work under the Pythons of boards: the same answers, timed, over the whole road."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from board_pythons import VERSIONS, clean, interpreters

from calkd_edge.agent.interpreters import NAMES
from calkd_edge.devices.session import open_session
from calkd_edge.metrics.latency import LOADS

SHORT = {**LOADS["quick"], "min_runs": 20, "min_seconds": 0.1, "warmup_max_seconds": 0.3}


@pytest.fixture(scope="module", params=VERSIONS)
def python(request):
    """A Python of that version with numpy and ONNX Runtime."""
    path = interpreters().get(request.param)
    if path is None:
        pytest.skip(f"no Python {request.param} here; name one in CALKD_PYTHONS")
    imports = [path, "-c", "import numpy, onnxruntime"]
    if subprocess.run(imports, env=clean(), capture_output=True, check=False).returncode:
        pytest.skip(f"{path} has no numpy or no ONNX Runtime; name one that has in CALKD_PYTHONS")
    return request.param, path


def test_each_verb_works_there(python, exported, tmp_path):
    version, path = python
    net = exported("resnet8")
    np.save(tmp_path / "images.npy", net.images)
    where = {"runtime": "onnxruntime", "options": {"threads": 1}}
    with open_session("local", {"python": path}) as session:
        facts = session.probe()
        outputs, _ = session.predict(net.path, tmp_path / "images.npy", **where)
        timed = session.time(net.path, tmp_path / "images.npy", load=SHORT, **where)
        machine = session.doctor()
    assert facts.python.startswith(version)
    np.testing.assert_allclose(outputs["logits"], net.reference, atol=1e-4)
    assert len(timed.samples_ns) >= 20
    assert (timed.samples_ns > 0).all()
    assert machine.interpreters[0].version.startswith(version)


def test_every_python_that_the_package_supports_is_looked_for():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r"Programming Language :: Python :: (3\.\d+)", text)
    assert {f"python{version}" for version in supported} <= set(NAMES)
