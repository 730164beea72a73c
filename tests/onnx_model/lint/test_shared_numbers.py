"""The rule shared-numbers reports exactly the files that ONNX Runtime does not open with exact products."""

from __future__ import annotations

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
from lint_graphs import NODE
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.onnx_model.lint.linter import findings

REFUSES = platform.machine() in ("x86_64", "AMD64") and not onnxruntime.__version__.startswith("1.20.")
"""ONNX Runtime 1.20 opens these files."""

RNG = np.random.default_rng(0)
STORED = {
    "w1": RNG.integers(-127, 128, (8, 8)).astype(np.int8),
    "w2": RNG.integers(-127, 128, (8, 8)).astype(np.int8),
    "scale": np.float32(0.01),
    "zero": np.int8(0),
    "zero2": np.int8(0),
    "step": np.float32(0.02),
    "act": np.int8(0),
    "mid": np.uint8(128),
    "float1": RNG.normal(size=(8, 8)).astype(np.float32),
    "float2": RNG.normal(size=(8, 8)).astype(np.float32),
}
PAIR = (
    NODE("QuantizeLinear", ["x", "step", "act"], ["q"], "quantize"),
    NODE("DequantizeLinear", ["q", "step", "act"], ["d"], "dequantize"),
)


def weight(name: str, *numbers: str, output: str = "", **attributes) -> onnx.NodeProto:
    output = output or f"{name}d"
    return NODE("DequantizeLinear", [name, *numbers], [output], f"dequantize_to_{output}", **attributes)


def products(*before: onnx.NodeProto, weights=("w1d", "w2d"), **changed) -> onnx.ModelProto:
    """Two products in sequence, each of an activation that is quantized by the same numbers."""
    nodes = [
        *PAIR,
        *before,
        NODE("MatMul", ["d", weights[0]], ["h"], "first"),
        NODE("QuantizeLinear", ["h", "step", "act"], ["hq"], "requantize"),
        NODE("DequantizeLinear", ["hq", "step", "act"], ["hd"], "redequantize"),
        NODE("MatMul", ["hd", weights[1]], ["y"], "second"),
    ]
    return built(nodes, **changed)


def integer_products(first: str, second: str, weights=("w1", "w2")) -> onnx.ModelProto:
    """The same by operators that compute with integers, with two zero points."""
    x, w, y = ["step", "mid"], "scale", ["step", "mid"]
    nodes = [
        NODE("QuantizeLinear", ["x", *x], ["q"], "quantize"),
        NODE("QLinearMatMul", ["q", *x, weights[0], w, first, *y], ["h"], "first"),
        NODE("QLinearMatMul", ["h", *x, weights[1], w, second, *y], ["r"], "second"),
        NODE("DequantizeLinear", ["r", *y], ["y"], "dequantize"),
    ]
    return built(nodes)


def built(nodes: list[onnx.NodeProto], **changed) -> onnx.ModelProto:
    read = {name for node in nodes for name in node.input}
    stored = {name: array for name, array in {**STORED, **changed}.items() if name in read}
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def as_input(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A stored value that the caller may replace."""
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT8, []))
    return model


def quantized_in_file(name: str) -> tuple[onnx.NodeProto, ...]:
    return (
        NODE("QuantizeLinear", [name, "scale", "zero"], [f"{name}q"], f"quantize_{name}"),
        weight(f"{name}q", "scale", "zero", output=f"{name}d"),
    )


VECTOR = {"scale": np.full(8, 0.01, np.float32), "zero": np.zeros(8, np.int8)}
SMALL = {name: (STORED[name] // 2).astype(np.int8) for name in ("w1", "w2")}
IN_FLOAT = ("float1d", "float2d")
REFUSED = {
    "a zero point": lambda: products(weight("w1", "scale", "zero"), weight("w2", "scale", "zero")),
    "zero points of channels": lambda: products(
        weight("w1", "scale", "zero", axis=1), weight("w2", "scale", "zero", axis=1), **VECTOR
    ),
    "a weight": lambda: products(
        weight("w1", "scale", "zero"), weight("w1", "scale", "zero2", output="w2d"), zero2=np.int8(1)
    ),
    "a weight without zero points": lambda: products(
        weight("w1", "scale"), weight("w1", "scale", output="w2d")
    ),
    "a DequantizeLinear": lambda: products(weight("w1", "scale", "zero"), weights=("w1d", "w1d")),
    "a zero point by another name": lambda: products(
        weight("w1", "scale", "zero"), NODE("Identity", ["zero"], ["z"]), weight("w2", "scale", "z")
    ),
    "a zero point of weights that are quantized in the file": lambda: products(
        *quantized_in_file("float1"), *quantized_in_file("float2"), weights=IN_FLOAT
    ),
    "a zero point, in integers": lambda: integer_products("zero", "zero"),
    "a weight, in integers": lambda: integer_products("zero", "zero2", ("w1", "w1")),
}
OPENED = {
    "scales": lambda: products(weight("w1", "scale", "zero"), weight("w2", "scale", "zero2")),
    "nothing, but equal numbers": lambda: products(
        weight("w1", "scale", "zero"), weight("w2", "scale", "zero2"), w2=STORED["w1"]
    ),
    "weights without zero points": lambda: products(weight("w1", "scale"), weight("w2", "scale")),
    "a zero point with an activation": lambda: products(
        weight("w1", "scale", "act"), weight("w2", "scale", "zero")
    ),
    "a zero point of weights in 7 bits": lambda: products(
        weight("w1", "scale", "zero"), weight("w2", "scale", "zero"), **SMALL
    ),
    "a zero point of such weights that are quantized in the file": lambda: products(
        *quantized_in_file("float1"), *quantized_in_file("float2"), weights=IN_FLOAT, scale=np.float32(0.1)
    ),
    "a zero point that may be replaced": lambda: as_input(
        products(weight("w1", "scale", "zero"), weight("w2", "scale", "zero")), "zero"
    ),
    "scales, in integers": lambda: integer_products("zero", "zero2"),
}
"""By what is shared."""


def refusal(model: onnx.ModelProto, exact: str) -> str:
    """ONNX Runtime's message where it does not open a file; else an empty string."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", exact)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as refused:  # onnxruntime's own errors share no base class but Exception
        return str(refused)
    return ""


def messages(model: onnx.ModelProto) -> list[str]:
    rows = findings(model, "onnxruntime")
    return [finding.message for finding in rows if finding.rule == "shared-numbers"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_onnx_runtime_does_not_open_is_reported(name):
    model = REFUSED[name]()
    assert len(messages(model)) == 1
    assert refusal(model, "0") == ""
    if REFUSES:
        assert "graph_utils" in refusal(model, "1"), "where it adds the second value of one name"


@pytest.mark.parametrize("name", OPENED)
def test_a_file_that_onnx_runtime_opens_is_not_reported(name):
    model = OPENED[name]()
    assert refusal(model, "0") == refusal(model, "1") == ""
    assert messages(model) == []


def test_the_finding_names_both_nodes_and_what_they_share():
    (message,) = messages(REFUSED["a zero point"]())
    assert message.startswith("shares 'zero' with 'dequantize_to_w1d'")
    (message,) = messages(REFUSED["a DequantizeLinear"]())
    assert message.startswith("the int8 weight that it dequantizes is read 2 times")
