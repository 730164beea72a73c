"""A recipe whose device runs TensorRT, which is played: engines built, hashed, measured and published."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.devices import local

SUPPORT = Path(__file__).parents[1] / "support"
TWO = [
    {"name": "local"},
    {"name": "local", "runtime": "tensorrt", "options": {"cuda_graph": True, "max_images": 32}},
]


def test_a_device_without_tensorrt_is_an_error_before_anything_trains(tmp_path):
    """First of all: the fixtures below give this machine one."""
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("this machine has TensorRT")
    recipe = written(tmp_path, recipe_with(devices=TWO, student=RECIPE["student"]))
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert done.code == 5
    assert "cannot import tensorrt" in " ".join(done.err.split())


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A Python that finds a tensorrt, played, and a libcudart that works on host memory."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("board")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "libcudart.so", SUPPORT / "cudart_stub.c"], check=True
    )
    shutil.copyfile(SUPPORT / "played_tensorrt.py", folder / "tensorrt.py")
    facts = folder / "tensorrt-10.3.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 10.3.0\n")
    python = folder / "python3"
    variables = f'CALKD_CUDART="{folder}/libcudart.so" PYTHONPATH="{folder}"'
    python.write_text(f'#!/bin/sh\n{variables} exec "{sys.executable}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.sys, "executable", str(python))
        yield folder


@pytest.fixture(scope="module")
def run(tiny, board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorrt")
    shutil.copytree(tiny.store, folder / "store")
    recipe = written(folder, recipe_with(devices=TWO))
    done = command("compress", "--recipe", recipe, "--store", folder / "store", "--out", folder / "out")
    assert done.code == 0, done.err
    return folder


def rows_of(run, runtime):
    report = json.loads((run / "out" / "report.json").read_text())
    return {
        row["precision"]: row
        for row in report["measurements"]
        if row["runtime"] == runtime and row["calibrated"] and row["model"] == "student"
    }


def test_each_precision_runs_the_engine_that_was_built_for_it(run):
    found = rows_of(run, "tensorrt")
    assert set(found) == {"fp32", "int8"}
    for precision, row in found.items():
        engine = run / "out" / "models" / f"student.{precision}.local.engine"
        assert row["file"] == engine.name
        assert row["sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()
        assert row["size_bytes"] == engine.stat().st_size
        assert row["session_options"]["tensorrt"] == "10.3.0"
        assert row["session_options"]["cuda_graph"] is True
        assert row["latency_ms"]["p50"]["value"] > 0
        assert any("built on the device by TensorRT 10.3.0" in note for note in row["notes"])


def test_it_is_the_canonical_calibrated_file_that_was_built(run):
    canonical = (run / "out" / "models" / "student.int8.onnx").read_bytes()
    assert (run / "out" / "models" / "student.int8.local.engine").read_bytes() == b"ptrt00010032" + canonical


def test_engines_answer_as_the_other_runtime_does(run):
    engines, plain = (rows_of(run, runtime) for runtime in ("tensorrt", "onnxruntime"))
    for precision, row in engines.items():
        own, other = row["quality"]["nll"]["value"], plain[precision]["quality"]["nll"]["value"]
        assert own == pytest.approx(other, abs=0.02)
        assert row["calibration"]["scale"] == plain[precision]["calibration"]["scale"]


def test_each_engine_is_built_before_it_is_asked(run):
    plan = json.loads((run / "out" / "report.json").read_text())["plan"]
    names = [line["stage"] for line in plan]
    for one in ("raw-student-int8@local", "student-int8@local"):
        last = len(names) - 1 - names[::-1].index(f"predict-{one}")
        assert names.index(f"build-{one}") < last


def test_another_option_builds_anew(run):
    other = [TWO[0], {**TWO[1], "options": {"workspace_mib": 64}}]
    recipe = written(run, recipe_with(devices=other), "other.yaml")
    done = command(
        "compress", "--recipe", recipe, "--store", run / "store", "--out", run / "x", "--dry-run", "--json"
    )
    assert done.code == 0, done.err
    assert done.stages["quantize-student-int8"]
    assert not done.stages["build-student-int8@local"]


def test_an_option_that_the_runtime_has_not_is_refused(tmp_path):
    devices = [{"name": "local", "options": {"cuda_graph": True, "max_images": 32}}]
    done = command("compress", "--recipe", written(tmp_path, recipe_with(devices=devices)))
    assert done.code == 2
    assert "devices[0].options: onnxruntime has no option 'cuda_graph'" in " ".join(done.err.split())
