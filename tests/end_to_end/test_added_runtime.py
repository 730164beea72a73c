"""Runtimes that a plugin adds run on devices: their module travels with the agent."""

from __future__ import annotations

import importlib
import json
import sys

import pytest
from benchmark_world import SHORT
from tiny_run import command

from calkd_edge.agent.runtimes import RUNTIMES, RuntimeInfo, add_runtime
from calkd_edge.devices.agent_zip import agent_zip
from calkd_edge.devices.doctor import doctor
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.export import CONVERTERS
from calkd_edge.metrics.latency import LOADS, PROCESSES


class ToyConverter:
    """The converter of `toy_format`."""

    packages = ("onnx",)

    def check(self):
        pass

    def convert(self, model):
        return b"TOY1" + model.SerializeToString()


@pytest.fixture
def toys(monkeypatch):
    """Both runtimes, added by importing their module, which is not in the package."""
    monkeypatch.setattr(CONVERTERS, "_added", {"toy_format": ToyConverter})
    importlib.import_module("toy_runtime")
    yield ("toy", "toy_format")
    for name in ("toy", "toy_format"):
        del RUNTIMES[name]
    del sys.modules["toy_runtime"]


def test_compress_and_benchmark_run_them(toys, tiny, tmp_path, monkeypatch):
    devices = [part for name in toys for part in ("--device", f"local:{name}")]
    done = tiny.again(tmp_path / "out", *devices)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    top1 = {
        row["runtime"]: row["quality"]["top1"]["value"]
        for row in report["measurements"]
        if (row["model"], row["precision"], row["calibrated"]) == ("student", "fp32", True)
    }
    assert top1["toy"] == top1["toy_format"] == top1["onnxruntime"]
    assert (tmp_path / "out" / "models" / "student.fp32.toy").read_bytes().startswith(b"TOY1")

    monkeypatch.setitem(LOADS, "quick", SHORT)
    monkeypatch.setitem(PROCESSES, "quick", 1)
    for name in toys:
        out = tmp_path / name
        done = command(
            "benchmark", tmp_path / "out", "--device", f"local:{name}", "--precision", "fp32", "--out", out
        )
        assert done.code in (0, 4), done.err
        record = json.loads((out / "benchmark.json").read_text())
        assert record["runtime"] == name
        assert record["files"][0]["session_options"]["toy"] == record["runtime_version"]


def test_doctor_lists_them(toys):
    lines = {line.runtime: line for line in doctor().runnable if line.precision == "int8"}
    assert {name: lines[name].runs for name in toys} == dict.fromkeys(toys, True)
    assert lines["toy"].gains is None


def test_zip_is_as_before_where_no_runtime_was_added(toys):
    with_toys = agent_zip()
    saved = {name: RUNTIMES.pop(name) for name in toys}
    assert len(agent_zip()) < len(with_toys)
    RUNTIMES.update(saved)
    assert agent_zip() == with_toys


def test_name_of_another_runtime_is_refused():
    with pytest.raises(ValueError, match="'openvino' exists already"):
        add_runtime("openvino", RuntimeInfo("mine", "Mine", "Mine", "mine", ("mine",)))


def test_engine_builder_cannot_be_added():
    with pytest.raises(ValueError, match="has the kind 'compiled'"):
        add_runtime("mine", RuntimeInfo("mine", "Mine", "Mine", "mine", ("mine",), "compiled"))


def test_runtime_without_a_source_file_cannot_be_sent(monkeypatch):
    info = RuntimeInfo("zlib", "Nothing", "Nothing", "zlib", ("zlib",))
    monkeypatch.setitem(RUNTIMES, "nothing", info)
    with pytest.raises(EnvironmentProblem, match="its module zlib has no source file"):
        agent_zip()
