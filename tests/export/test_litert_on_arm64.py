"""Converted files on an emulated arm64 machine, with LiteRT's own wheel and numpy alone: the same answers."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from emulated_arm64 import PLATFORMS

from calkd_edge.devices.local import Local
from calkd_edge.devices.session import Session
from calkd_edge.export.litert import convert
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images

pytest.importorskip("ai_edge_litert", reason="needs the extra [litert]")
pytestmark = pytest.mark.slow
SITE = "import sys; print(next(path for path in sys.path if path.endswith('site')))"


@pytest.fixture(scope="module")
def board(arm64):
    """The arm64 machine's Python, with LiteRT and nothing that it depends on but numpy."""
    version, site = (
        subprocess.run([arm64, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for code in ("import platform; print(platform.python_version())", SITE)
    )
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    options = ["--implementation", "cp", "--python-version", version, "--only-binary=:all:", "--no-deps"]
    wheel = f"ai-edge-litert=={metadata.version('ai-edge-litert')}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *platforms, *options, "--target", site, wheel]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return arm64


def ask(python, path, images):
    device = Local("arm64" if python else "local")
    device.python = str(python or device.python)
    with Session(device) as session:
        facts = session.probe()
        assert facts.runtimes["litert"] == metadata.version("ai-edge-litert")
        assert facts.machine == ("aarch64" if python else facts.machine)
        outputs, _ = session.predict(path, images, runtime="litert", options={}, images_per_run=1)
        return outputs["logits"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_arm64_gives_the_same_logits(exported, board, tmp_path, name, precision):
    net = exported(name)
    source = Images(lambda count: net.images[:count])
    model = net.proto if precision == "fp32" else int8(net.proto, source, images=32)
    path, images = tmp_path / "model.tflite", tmp_path / "images.npy"
    path.write_bytes(convert(model))
    np.save(images, net.images)
    on_arm64, here = ask(board, path, images), ask(None, path, images)
    gap = np.abs(on_arm64 - here).max(1) / np.abs(here).max()
    # In int8 a sum that differs in its last digit now and then rounds to the other side.
    assert (gap <= 1e-5).mean() >= (1.0 if precision == "fp32" else 0.9)
    assert gap.max() <= 0.02
