"""What is made once a session: exported nets, one whole run of the tiny recipe, an emulated board."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import loopback_board
import numpy as np
import onnx
import onnxruntime
import pytest
from emulated_arm64 import arm64_python, missing
from exported_nets import ExportedNet, blobs, settled
from hypothesis import settings as hypothesis_settings
from tiny_run import RECIPE, TinyRun, command, written

from calkd_edge.devices import DEVICES
from calkd_edge.devices.base import Device
from calkd_edge.export.torch_export import export_onnx, reference_logits

# The same examples in every run, so that a failure is of the change at hand; `make test-all` draws new ones.
hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis_settings.register_profile("fresh", deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Measurements on one machine wait for each other; those of two test processes must not.
if "PYTEST_XDIST_WORKER" in os.environ:
    tempfile.tempdir = str(Path(tempfile.gettempdir()) / os.environ["PYTEST_XDIST_WORKER"])
    Path(tempfile.tempdir).mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[str], ExportedNet]:
    """exported(name): that net's file, made when it is first asked for."""
    made: dict[str, ExportedNet] = {}

    def export(name: str) -> ExportedNet:
        if name not in made:
            model = settled(name)
            path = tmp_path_factory.mktemp(name) / "model.onnx"
            export_onnx(
                model, (3, 32, 32), path, opset=20, metadata={"classes": '["a"]', "precision": "fp32"}
            )
            images = blobs(64, seed=7)
            made[name] = ExportedNet(name, path, images, reference_logits(model, images))
        return made[name]

    return export


@pytest.fixture(scope="session")
def execute() -> Callable[..., dict[str, np.ndarray]]:
    """execute(model, images, simulate=False): every output by name, by ONNX Runtime with exact products."""

    def run(model: onnx.ModelProto, images: np.ndarray, *, simulate: bool = False) -> dict[str, np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.x64quantprecision", "1")
        if simulate:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> TinyRun:
    """A finished run of the tiny recipe: some twenty seconds, spent once."""
    folder = tmp_path_factory.mktemp("tiny")
    recipe, store, out = written(folder, RECIPE), folder / "store", folder / "out"
    done = command("compress", "--recipe", recipe, "--store", store, "--out", out)
    assert done.code == 0, done.err
    return TinyRun(recipe, store, out, done)


@pytest.fixture(scope="session")
def arm64(tmp_path_factory) -> Path:
    """A command that is Python on an emulated arm64 machine, with numpy and ONNX Runtime."""
    if missing():
        pytest.skip(missing())
    return arm64_python(tmp_path_factory.mktemp("arm64"))


@pytest.fixture(scope="session")
def sshd(tmp_path_factory) -> Iterator[loopback_board.Board]:
    """A board behind a real sshd on loopback."""
    if loopback_board.missing():
        pytest.skip(loopback_board.missing())
    board = loopback_board.start(tmp_path_factory.mktemp("board"))
    yield board
    board.stop()


@pytest.fixture
def board(sshd, monkeypatch) -> Iterator[loopback_board.Board]:
    """That board, and an ssh in the PATH that knows it."""
    monkeypatch.setenv("PATH", f"{sshd.client}:{os.environ['PATH']}")
    yield sshd
    loopback_board.disconnect()


@pytest.fixture
def device() -> Iterator[Callable[[str, Callable[[str], Device]], None]]:
    """device(name, make): register a device of the test's own for its duration."""
    added: list[str] = []

    def add(name: str, make: Callable[[str], Device]) -> None:
        DEVICES.add(name, make)
        added.append(name)

    yield add
    for name in added:
        del DEVICES._added[name]
