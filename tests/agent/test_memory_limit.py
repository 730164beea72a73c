"""A model that claims more memory than there is ends the agent's job with a sentence."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calkd_edge.agent import PROTOCOL, memory_limit
from calkd_edge.agent.machine import Machine

PROGRAM = """
import sys
from calkd_edge.agent import memory_limit
from calkd_edge.agent.__main__ import main
from calkd_edge.agent.machine import Machine
memory_limit.set_limit(Machine(sys.argv[1]))
sys.exit(main(["predict", "job.json", "reply.json"]))
"""


def greedy(path, values, elements):
    """Logits of 8x8 images, and the sum of `values` vectors that all live at once."""
    filled = helper.make_tensor("filled", TensorProto.FLOAT, [1], [1.0])
    names = [f"v{number}" for number in range(values)]
    nodes = [helper.make_node("ConstantOfShape", ["size"], [name], value=filled) for name in names]
    nodes += [
        helper.make_node("Sum", names, ["all"]),
        helper.make_node("ReduceMax", ["all"], ["one"], keepdims=0),
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Add", ["means", "one"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "greedy",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("size", TensorProto.INT64, [1], [elements]),
            helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.mark.parametrize(("values", "fits"), [(2, True), (40, False)])
def test_sum_of_values_over_the_memory_that_is_available_ends_the_job(values, fits, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 800000 kB\nMemAvailable: 500000 kB\n")
    greedy(tmp_path / "model.onnx", values, 1 << 23)
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 8, 8), np.uint8))
    job = {"protocol": PROTOCOL, "model": "model.onnx", "images": "images.npy", "outputs": "outputs.npz"}
    job |= {"runtime": "onnxruntime", "options": {"optimization": "none"}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    reply = json.loads((tmp_path / "reply.json").read_text())
    assert done.returncode == (0 if fits else 1), reply
    assert ("images" in reply) == fits
    assert fits or reply["remedy"] == memory_limit.REMEDY


def test_machine_with_an_nvidia_gpu_has_no_such_limit(tmp_path, monkeypatch):
    """Its driver reserves more than there is."""
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: pytest.fail(f"set {limit}"))
    for folder, name, text in (("proc", "meminfo", "MemAvailable: 500000 kB\n"), ("dev", "nvidia0", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    memory_limit.set_limit(Machine(str(tmp_path)))
