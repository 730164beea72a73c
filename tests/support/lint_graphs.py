"""Small quantized classifiers with one thing right or wrong, written node by node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NODE = helper.make_node


class Net:
    """An 8-channel convolution, a ReLU, a mean over places and a product with 5 classes, quantized."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.opset, self.batch, self.size = 20, "n", 8
        self.act, self.zero = np.float32(0.02), np.int8(0)
        self.weight = rng.integers(-100, 100, (8, 4, 3, 3)).astype(np.int8)
        self.scale, self.weight_zero, self.axis = np.full(8, 0.01, np.float32), np.zeros(8, np.int8), 0
        self.head = rng.integers(-100, 100, (5, 8)).astype(np.int8)
        self.head_scale, self.head_axis, self.trans = np.full(5, 0.01, np.float32), 0, 1
        self.bias: np.ndarray = np.zeros(8, np.float32)
        self.activation = NODE("Relu", ["y0"], ["y1"], "relu")
        self.pool = NODE("GlobalAveragePool", ["y1"], ["p"], "pool")
        self.extra: list[onnx.NodeProto] = []
        self.end = "logits"
        self.quantized_input = self.quantized_weight = True
        self.requantize = False
        self.stored: dict[str, np.ndarray] = {}
        self.outputs = ["logits"]

    def model(self) -> onnx.ModelProto:
        stored = dict(self.stored)
        stored.update(
            act=np.asarray(self.act), zero=np.asarray(self.zero), scale=self.scale, wzero=self.weight_zero
        )
        stored.update(
            head=self.head, head_scale=self.head_scale, hzero=np.zeros(len(self.head_scale), np.int8)
        )
        floats = self.act.dtype
        nodes, x, w = [], "x", "w"
        if self.quantized_input:
            nodes += [
                NODE("QuantizeLinear", ["x", "act", "zero"], ["xq"], "q"),
                NODE("DequantizeLinear", ["xq", "act", "zero"], ["xd"], "dq"),
            ]
            x = "xd"
        if self.quantized_weight:
            stored["w"] = self.weight
            nodes.append(NODE("DequantizeLinear", ["w", "scale", "wzero"], ["wd"], "dqw", axis=self.axis))
            w = "wd"
        else:
            stored["w"] = self.weight.astype(floats) / 100
        bias = "b"
        stored["b"] = self.bias if self.bias.dtype == np.int32 else self.bias.astype(floats)
        if self.bias.dtype == np.int32:
            stored.update(bs=np.full(8, 2e-4, np.float32), bz=np.zeros(8, np.int32))
            nodes.append(NODE("DequantizeLinear", ["b", "bs", "bz"], ["bd"], "dqb", axis=0))
            bias = "bd"
        nodes.append(NODE("Conv", [x, w, bias], ["y0"], "conv", pads=[1, 1, 1, 1]))
        if self.requantize:
            nodes += [
                NODE("QuantizeLinear", ["y0", "act", "zero"], ["y0q"], "requantize"),
                NODE("DequantizeLinear", ["y0q", "act", "zero"], ["y0d"], "redequantize"),
            ]
            self.activation.input[0] = "y0d"
        nodes += [self.activation, self.pool, NODE("Flatten", ["p"], ["f"], "flat")]
        nodes += [
            NODE("QuantizeLinear", ["f", "act", "zero"], ["fq"], "qf"),
            NODE("DequantizeLinear", ["fq", "act", "zero"], ["fd"], "dqf"),
            NODE("DequantizeLinear", ["head", "head_scale", "hzero"], ["hd"], "dqh", axis=self.head_axis),
            NODE("Gemm", ["fd", "hd"], [self.end], "gemm", transB=self.trans),
            *self.extra,
        ]
        kind = helper.np_dtype_to_tensor_dtype(floats)
        graph = helper.make_graph(
            nodes,
            "by_hand",
            [helper.make_tensor_value_info("x", kind, [self.batch, 4, self.size, self.size])],
            [helper.make_tensor_value_info(name, kind, ["m", 5]) for name in self.outputs],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def changed(**what: object) -> Callable[[Net], None]:
    return lambda net: [setattr(net, key, value) for key, value in what.items()] and None


def after(*nodes: onnx.NodeProto, **stored: np.ndarray) -> Callable[[Net], None]:
    """Further nodes from "before" to "logits", after the last layer."""

    def change(net: Net) -> None:
        net.end, net.extra = "before", list(nodes)
        net.stored.update(stored)

    return change


def zeroed(scale: np.ndarray) -> np.ndarray:
    scale = scale.copy()
    scale[3] = 0
    return scale


GOOD: dict[str, Callable[[Net], None]] = {
    "int8, per channel": changed(),
    "int8, one scale for a weight": changed(scale=np.float32(0.01), weight_zero=np.int8(0)),
    "scales in half precision": changed(
        act=np.float16(0.02), scale=np.full(8, 0.01, np.float16), head_scale=np.full(5, 0.01, np.float16)
    ),
    "a fixed batch": changed(batch=3),
    "opset 13": changed(opset=13),
    "a Clip": changed(
        activation=NODE("Clip", ["y0", "low", "high"], ["y1"], "clip"),
        stored={"low": np.float32(0), "high": np.float32(6)},
    ),
    "a HardSwish": changed(activation=NODE("HardSwish", ["y0"], ["y1"], "hardswish")),
    "a Mish": changed(activation=NODE("Mish", ["y0"], ["y1"], "mish")),
    "a product whose weight is not transposed": changed(trans=0, head=np.ones((8, 5), np.int8), head_axis=1),
    "a softmax": after(NODE("Softmax", ["before"], ["logits"], "softmax", axis=1)),
    "an Identity": after(NODE("Identity", ["before"], ["logits"], "identity")),
    "a mean along stored axes": changed(
        pool=NODE("ReduceMean", ["y1", "axes"], ["p"], "mean"), stored={"axes": np.array([2, 3])}
    ),
    "quantized before the activation as well": changed(requantize=True),
    "-128 among the weights": changed(weight=np.full((8, 4, 3, 3), -128, np.int8)),
}
BAD: dict[str, tuple[Callable[[Net], None], str]] = {
    "zero point of a weight": (changed(weight_zero=np.full(8, 3, np.int8)), "zero-points"),
    "zero point of an activation": (changed(zero=np.int8(5)), "zero-points"),
    "uint8 activations around 128": (changed(zero=np.uint8(128)), "zero-points"),
    "uint8 weights": (
        changed(weight=np.full((8, 4, 3, 3), 100, np.uint8), weight_zero=np.zeros(8, np.uint8)),
        "quantized-types",
    ),
    "an int32 bias": (changed(bias=np.zeros(8, np.int32)), "quantized-types"),
    "a channel with scale 0": (changed(scale=zeroed(np.full(8, 0.01, np.float32))), "scales"),
    "a negative scale": (changed(act=np.float32(-0.02)), "scales"),
    "an unsupported operator": (
        after(
            NODE("Unsqueeze", ["before", "axis"], ["u"], "u"),
            NODE("Unique", ["u"], ["logits"], "unique"),
            axis=np.array([1]),
        ),
        "operators",
    ),
    "an operator of another domain": (
        after(NODE("FusedGelu", ["before"], ["logits"], "fused", domain="com.microsoft")),
        "operators",
    ),
    "bits": (
        after(
            NODE("Cast", ["before"], ["i"], "cast", to=TensorProto.INT32),
            NODE("BitwiseNot", ["i"], ["j"], "bits"),
            NODE("Cast", ["j"], ["logits"], "back", to=TensorProto.FLOAT),
        ),
        "operators",
    ),
    "a pool with dilations": (
        changed(
            pool=NODE("MaxPool", ["y1"], ["p"], "pool", kernel_shape=[2, 2], dilations=[7, 7]),
        ),
        "restrictions",
    ),
    "int16 inside": (
        after(
            NODE("Cast", ["before"], ["i"], "cast", to=TensorProto.INT16),
            NODE("Cast", ["i"], ["logits"], "back", to=TensorProto.FLOAT),
        ),
        "types",
    ),
}
"""By name: the change, and the rule that must report it."""

ACCEPTED_BY_COMPILER: dict[str, tuple[Callable[[Net], None], str]] = {
    "uint8 activations from 0": (changed(zero=np.uint8(0)), "quantized-types"),
    "only the activation quantized": (changed(quantized_weight=False), "half-quantized"),
    "only the weight quantized": (changed(quantized_input=False), "half-quantized"),
    "scales along the wrong axis": (
        changed(axis=1, scale=np.full(4, 0.01, np.float32), weight_zero=np.zeros(4, np.int8)),
        "scale-axes",
    ),
    "scales along the wrong axis of a product": (
        changed(head_axis=1, head_scale=np.full(8, 0.01, np.float32)),
        "scale-axes",
    ),
    "cubic resizing": (
        changed(
            pool=NODE("Resize", ["y1", "", "", "to"], ["p"], "resize", mode="cubic"),
            stored={"to": np.array([1, 8, 1, 1])},
            batch=1,
        ),
        "restrictions",
    ),
    "a quantized value read by another": (
        after(
            NODE("QuantizeLinear", ["before", "act", "zero"], ["q8"], "q8"),
            NODE("Cast", ["q8"], ["logits"], "back", to=TensorProto.FLOAT),
        ),
        "loose-ends",
    ),
    "opset 21": (changed(opset=21), "opset"),
}
"""Files that the compiler accepts and the linter refuses; docs/export.md says why."""


def built(change: Callable[[Net], None]) -> onnx.ModelProto:
    net = Net()
    change(net)
    return net.model()
