"""Convolutions, products and poolings in LiteRT's operators.

A convolution runs in integers where its input and its weights are quantized and a QuantizeLinear is the only
reader of its result, after an activation function or not; its bias then becomes int32, as LiteRT requires.
Any other convolution runs in float32 on the same rounded numbers: its stored weights stay int8 or float16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from calkd_edge.export.litert.layout import Value, channels_last, laid
from calkd_edge.export.litert.translation import (
    Translation,
    Weight,
    check_symmetric,
    numbers_of,
    refused,
)
from calkd_edge.onnx_model.graph import attribute, number_of

INT32_LIMIT = 2.0**31 - 1
PER_CHANNEL, HALF, GROUPED = 5, 3, 6
"""Versions of DEQUANTIZE that support several scales, and float16; of CONV_2D, several groups."""


@dataclass(frozen=True)
class Kernel:
    """A convolution's stored weights.

    Attributes:
        name: of the value that holds them as floats.
        values: [O, I / groups, h, w], of the stored type.
        quantized: the scales of int8 weights, else None.
        is_depthwise: whether each input channel has separate filters.
        groups: of input channels.
    """

    name: str
    values: np.ndarray
    quantized: Weight | None
    is_depthwise: bool
    groups: int

    @property
    def arranged(self) -> np.ndarray:
        """The values in LiteRT's order: [1, h, w, O] of a depthwise convolution, else [O, h, w, I]."""
        return self.values.transpose((1, 2, 3, 0) if self.is_depthwise else (0, 2, 3, 1))

    @property
    def axis(self) -> int:
        """The axis of output channels in that order."""
        return 3 if self.is_depthwise else 0


def conv(t: Translation, node: onnx.NodeProto) -> None:
    """Conv, with the activation function and the QuantizeLinear after it."""
    kernel = _kernel(t, node)
    bias = _bias(t, node, len(kernel.values))
    following, source, filters, added = _in_integers(t, node, kernel, bias) or _in_floats(
        t, node, kernel, bias
    )
    activation, name = t.activated(node.output[0])
    if following is not None:
        name = following.output[0]
        t.done.add(name)
    strides, dilations = numbers_of(node, "strides", [1, 1]), numbers_of(node, "dilations", [1, 1])
    spans = [(size - 1) * step + 1 for size, step in zip(kernel.values.shape[2:], dilations, strict=True)]
    source, padding = _padded(t, node, source, spans, strides)
    scale = None if following is None else float(t.array(following.input[1]))
    result = t.new(name, t.shapes[node.output[0]], channels_last(4), scale=scale)
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": t.code("ActivationFunctionType", activation),
    }
    operands = [source.tensor, filters, added]
    if kernel.is_depthwise:
        fields["depthMultiplier"] = len(kernel.values) // kernel.groups
        t.file.operator("DEPTHWISE_CONV_2D", operands, [result.tensor], "DepthwiseConv2DOptions", **fields)
    else:
        version = GROUPED if kernel.groups > 1 else None
        t.file.operator("CONV_2D", operands, [result.tensor], "Conv2DOptions", version=version, **fields)


def _kernel(t: Translation, node: onnx.NodeProto) -> Kernel:
    name = node.input[1]
    weight = t.weights.get(name)
    if weight is None and not t.is_stored(name):
        raise refused(node, "its weights are computed")
    values = weight.values if weight is not None else t.view.array(name)
    if values.ndim != 4:
        raise refused(node, f"it has {values.ndim - 2} spatial axes, not 2")
    groups = int(number_of(node, "group", 1))
    return Kernel(name, values, weight, groups == t.shapes[node.input[0]][1] > 1, groups)


Operands = tuple[onnx.NodeProto | None, Value, int, int]


def _in_integers(t: Translation, node: onnx.NodeProto, kernel: Kernel, bias: np.ndarray) -> Operands | None:
    """The QuantizeLinear of the result, the input, weights and bias; None where integers are not possible."""
    following = t.quantized_next(node.output[0])
    if following is None or kernel.quantized is None or node.input[0] not in t.pending:
        return None
    if not t.is_stored(following.input[1]) or t.array(following.input[1]).ndim:
        return None
    check_symmetric(t, following)
    source = t.integers[t.pending[node.input[0]]]
    scale = np.broadcast_to(kernel.quantized.scale.astype(np.float32), bias.shape)
    scales = np.float32(source.scale or 0) * scale
    integers = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
    if np.abs(integers).max() > INT32_LIMIT:
        return None
    filters = t.file.constant(kernel.name, kernel.arranged, scale=scale, axis=kernel.axis)
    added = t.file.constant(f"{node.output[0]}_bias", integers.astype(np.int32), scale=scales)
    return following, source, filters, added


def _in_floats(t: Translation, node: onnx.NodeProto, kernel: Kernel, bias: np.ndarray) -> Operands:
    filters = _floats(t, kernel.name, kernel.quantized, kernel.arranged, kernel.axis)
    return None, t.value(node.input[0]), filters, t.numbers(f"{node.output[0]}_bias", bias)


def _bias(t: Translation, node: onnx.NodeProto, channels: int) -> np.ndarray:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(channels, dtype=np.float32)
    if not t.is_stored(node.input[2]):
        raise refused(node, "its bias is computed")
    return t.array(node.input[2])


def _floats(t: Translation, name: str, weight: Weight | None, arranged: np.ndarray, axis: int) -> int:
    """float32 weights, from the stored ones: int8 with scales, float16, or float32."""
    if weight is None and arranged.dtype == np.float32:
        return t.numbers(name, arranged)
    scale = None if weight is None else weight.scale
    stored = t.file.constant(f"{name}_stored", arranged, scale=scale, axis=axis)
    tensor = t.file.tensor(name, arranged.shape, "float32")
    version = HALF if weight is None else PER_CHANNEL
    t.file.operator("DEQUANTIZE", [stored], [tensor], "DequantizeOptions", version=version)
    return tensor


def _padded(
    t: Translation,
    node: onnx.NodeProto,
    value: Value,
    spans: list[int],
    strides: list[int],
    edge: float = 0.0,
    by_hand: bool = False,
) -> tuple[Value, int]:
    """The input with channels last, and LiteRT's code of its padding; adds a PAD where no code fits."""
    value = laid(t.file, value, channels_last(4))
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise refused(node, "it uses automatic padding")
    before_h, before_w, after_h, after_w = numbers_of(node, "pads", [0, 0, 0, 0])
    padding = ((before_h, after_h), (before_w, after_w))
    if not any(map(any, padding)):
        return value, t.code("Padding", "VALID")
    same = []
    for size, span, stride in zip(value.shape[2:], spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        same.append((total // 2, total - total // 2))
    if padding == tuple(same) and not by_hand:
        return value, t.code("Padding", "SAME")
    widths = np.array([(0, 0), *padding, (0, 0)], dtype=np.int32)
    shape = tuple(size + sum(width) for size, width in zip(value.shape, widths[[0, 3, 1, 2]], strict=True))
    name = f"{node.output[0]}_padded"
    padded = t.new(name, tuple(map(int, shape)), value.order, scale=value.scale)
    operands = [value.tensor, t.numbers(f"{name}_widths", widths)]
    if edge == 0.0:
        t.file.operator("PAD", operands, [padded.tensor], "PadOptions")
    else:
        operands.append(t.numbers(f"{name}_with", np.array([edge], dtype=np.float32)))
        t.file.operator("PADV2", operands, [padded.tensor], "PadV2Options")
    return padded, t.code("Padding", "VALID")


def gemm(t: Translation, node: onnx.NodeProto) -> None:
    """Gemm and MatMul with stored weights, in float32."""
    is_gemm = node.op_type == "Gemm"
    plain = number_of(node, "alpha", 1.0) == number_of(node, "beta", 1.0) == 1.0
    weight = t.weights.get(node.input[1])
    if weight is None and not t.is_stored(node.input[1]):
        raise refused(node, "its weights are computed")
    values = weight.values if weight is not None else t.view.array(node.input[1])
    if not plain or number_of(node, "transA", 0) or values.ndim != 2 or len(t.shapes[node.input[0]]) != 2:
        raise refused(node, "it is not a plain product of [N, I] and stored weights")
    rows_first = is_gemm and bool(number_of(node, "transB", 0))
    if weight is not None and not rows_first:
        raise refused(node, "its int8 weights have their scales along the other axis")
    arranged = values if rows_first else values.T
    source = t.value(node.input[0])
    filters = _floats(t, node.input[1], weight, arranged, 0)
    bias = _bias(t, node, len(arranged)) if is_gemm else np.zeros(len(arranged), dtype=np.float32)
    if bias.size != len(arranged):
        raise refused(node, "its bias is not one number for each output")
    added = t.numbers(f"{node.output[0]}_bias", bias.reshape(-1))
    activation, name = t.activated(node.output[0])
    result = t.new(name, t.shapes[node.output[0]], (0, 1))
    code = t.code("ActivationFunctionType", activation)
    operands = [source.tensor, filters, added]
    t.file.operator(
        "FULLY_CONNECTED", operands, [result.tensor], "FullyConnectedOptions", fusedActivationFunction=code
    )


def pool(t: Translation, node: onnx.NodeProto) -> None:
    """MaxPool and AveragePool over two axes."""
    kernel, strides = numbers_of(node, "kernel_shape", []), numbers_of(node, "strides", [1, 1])
    is_mean, padded = node.op_type == "AveragePool", any(numbers_of(node, "pads", [0, 0, 0, 0]))
    if len(kernel) != 2 or number_of(node, "ceil_mode", 0) or set(numbers_of(node, "dilations", [1])) != {1}:
        raise refused(node, "it is not a plain pooling over two axes")
    if is_mean and padded and not number_of(node, "count_include_pad", 0):
        raise refused(node, "its mean excludes the padding")
    source = t.value(node.input[0])
    # The mean includes the zeros, unlike LiteRT's padding: they are added explicitly.
    edge = 0.0 if is_mean else float(np.finfo(np.float32).min)
    source, padding = _padded(t, node, source, kernel, strides, edge, by_hand=is_mean)
    result = t.new(node.output[0], t.shapes[node.output[0]], channels_last(4))
    t.file.operator(
        "AVERAGE_POOL_2D" if is_mean else "MAX_POOL_2D",
        [source.tensor],
        [result.tensor],
        "Pool2DOptions",
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
    )


def mean(t: Translation, node: onnx.NodeProto) -> None:
    """ReduceMean and GlobalAveragePool."""
    source = t.value(node.input[0])
    if node.op_type == "GlobalAveragePool":
        axes, keeps = list(range(2, len(source.shape))), True
    else:
        stored = len(node.input) > 1 and bool(node.input[1])
        axes = [int(axis) for axis in t.array(node.input[1])] if stored else numbers_of(node, "axes", [])
        keeps = bool(number_of(node, "keepdims", 1))
    if not axes:
        raise refused(node, "it names no axes")
    reduced = {axis % len(source.shape) for axis in axes}
    positions = np.array(sorted(source.order.index(axis) for axis in reduced), dtype=np.int32)
    if keeps:
        order = source.order
    else:
        left = [axis for axis in range(len(source.shape)) if axis not in reduced]
        order = tuple(left.index(axis) for axis in source.order if axis not in reduced)
    result = t.new(node.output[0], t.shapes[node.output[0]], order)
    operands = [source.tensor, t.numbers(f"{node.output[0]}_axes", positions)]
    t.file.operator("MEAN", operands, [result.tensor], "ReducerOptions", keepDims=keeps)
