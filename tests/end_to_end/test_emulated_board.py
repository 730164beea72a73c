"""A recipe on an emulated arm64 board behind ssh: what it answers is measured, its speed is not claimed."""

from __future__ import annotations

import json
import os

import loopback_board
import numpy as np
import onnx
import pytest
from tiny_run import command, recipe_with, written

from calkd_edge.data.prepared import Prepared
from calkd_edge.records import Predictions

IMAGES = 100
CHANGES = {
    "data": {"name": "synthetic", "calibration_images": 120, "test_images_per_class": IMAGES // 10},
    "student": {"name": "mobilenet_v2", "width": 0.25},
    "evaluate": {"images": IMAGES, "corruptions": []},
    "precisions": [{"name": "fp32"}, {"name": "int8", "images": 32, "scales": "dyadic"}],
    "benchmark": {"min_runs": 64, "min_seconds": 0.1},
}
SIZE = [{"metric": "size_bytes", "max": 9_000_000, "device": "target"}, {"metric": "agreement", "min": 0.5}]
LATENCY = [{"metric": "latency_p95_ms", "max": 1000.0, "device": "target"}]


@pytest.fixture(scope="module")
def emulated(arm64, tmp_path_factory):
    """A board behind sshd whose Python is arm64's."""
    if loopback_board.missing():
        pytest.skip(loopback_board.missing())
    board = loopback_board.start(tmp_path_factory.mktemp("emulated"), python=arm64, machine="aarch64")
    yield board
    loopback_board.disconnect()
    board.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("emulated_run")


def compressed(board, folder, gates, monkeypatch):
    """`compress --device board` on a store that both tests share."""
    monkeypatch.setenv("PATH", f"{board.client}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    (folder / "config/calkd-edge").mkdir(parents=True, exist_ok=True)
    (folder / "config/calkd-edge/devices.yaml").write_text(f"board: {{host: {board.host}}}\n")
    recipe = written(folder, recipe_with(**CHANGES, gates=gates))
    arguments = ("--recipe", recipe, "--store", folder / "store", "--out", folder / "out")
    return command("compress", *arguments, "--device", "board")


def made(store, stage, name):
    """A file of a finished stage."""
    (found,) = [
        path
        for path in store.glob(f"objects/*/*/{name}")
        if json.loads((path.parent / "manifest.json").read_text())["stage"] == stage
    ]
    return found


def test_without_a_gate_on_latency_every_gate_passes_and_its_rows_are_marked(emulated, folder, monkeypatch):
    done = compressed(emulated, folder, SIZE, monkeypatch)
    assert done.code in (0, 4), done.err  # so short a training may have shown nothing
    report = json.loads((folder / "out/report.json").read_text())
    assert {gate["result"] for gate in report["gates"] if "Nothing was shown" not in gate["sentence"]} == {
        "passed"
    }
    assert report["devices"]["board"]["emulated"]
    assert report["devices"]["board"]["machine"] == "aarch64"
    rows = [row for row in report["measurements"] if row["device"] == "board" and row["calibrated"]]
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    for row in rows:
        assert row["quality"]["images"] == IMAGES
        assert row["latency_ms"]["samples"] >= 64
        assert row["emulated"]
        line = next(
            line for line in done.out.splitlines() if line.startswith(f"student {row['precision']} board")
        )
        assert line.count("emulated") == 2, "in the place of both times"
        name = f"Student {row['precision']} on board and local agree on"
        assert any(sentence.startswith(name) for sentence in report["conclusions"])
    assert not any(row["emulated"] for row in report["measurements"] if row["device"] != "board")
    told = [sentence for sentence in report["conclusions"] if "emulated" in sentence]
    assert told
    assert "do not show speed" in told[0]
    page = (folder / "out/report.html").read_text()
    assert page.count("board <small>onnxruntime, emulated</small>") >= 2
    assert "Latency of student fp32 on local" in page
    assert "Latency of student fp32 on board" not in page


def test_a_gate_on_latency_is_undecided_there(emulated, folder, monkeypatch):
    done = compressed(emulated, folder, SIZE + LATENCY, monkeypatch)
    assert done.code == 4, done.err
    report = json.loads((folder / "out/report.json").read_text())
    assert report["verdict"] == "undecided"
    undecided = [
        gate
        for gate in report["gates"]
        if gate["result"] == "undecided" and "Nothing was shown" not in gate["sentence"]
    ]
    assert {gate["metric"] for gate in undecided} == {"latency_p95_ms"}
    assert all("emulated" in gate["sentence"] for gate in undecided)
    assert not (folder / "out/bundle.zip").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_arm64_answers_is_the_files_own_simulation(emulated, folder, monkeypatch, execute, precision):
    assert compressed(emulated, folder, SIZE, monkeypatch).code in (0, 4)
    store = folder / "store"
    there = Predictions.load(made(store, f"predict-student-{precision}@board", "test.npz"))
    name = "model.cpu.onnx" if precision == "int8" else "model.onnx"
    model = onnx.load(made(store, f"calibrate-student-{precision}", name))
    images = Prepared.open(made(store, "prepare", "splits.json").parent).images[there.indices]
    simulated = execute(model, np.ascontiguousarray(images), simulate=True)["logits"]
    assert len(there.logits) == IMAGES
    assert np.abs(there.logits - simulated).max() <= 1e-3
