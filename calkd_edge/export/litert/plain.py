"""All operators but layers: arithmetic, activation functions, and operators that move or round numbers."""

from __future__ import annotations

import numpy as np
import onnx

from calkd_edge.export.litert.layout import Value, channels_last, laid, reshaped, transposed
from calkd_edge.export.litert.translation import (
    Translation,
    Weight,
    activation,
    check_symmetric,
    limits,
    numbers_of,
    refused,
)
from calkd_edge.onnx_model.graph import number_of

ARITHMETIC = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAXIMUM", "Min": "MINIMUM"}
WITHOUT_ACTIVATION = ("MAXIMUM", "MINIMUM")
SIXTH = 1.0 / 6.0


def arithmetic(t: Translation, node: onnx.NodeProto) -> None:
    """Arithmetic on two operands, each a value or stored numbers."""
    if len(node.input) != 2:
        raise refused(node, f"it has {len(node.input)} operands, not 2")
    computed = [t.value(name) for name in node.input if not t.is_stored(name)]
    if not computed:
        raise refused(node, "both its operands are stored")
    shape = t.shapes[node.output[0]]
    main = next((value for value in computed if len(value.shape) == len(shape)), None)
    if main is None or any(len(value.shape) != len(shape) for value in computed):
        raise refused(node, "its operands have different numbers of axes")
    operands = []
    for name in node.input:
        if t.is_stored(name):
            operands.append(_beside(t, node, t.array(name), main))
        else:
            operands.append(laid(t.file, t.value(name), main.order).tensor)
    _binary(t, node.output[0], ARITHMETIC[node.op_type], operands, shape, main.order)


def _beside(t: Translation, node: onnx.NodeProto, values: np.ndarray, main: Value) -> int:
    """Store numbers so that they broadcast against a value in its memory order."""
    rank = len(main.shape)
    if values.ndim > rank:
        raise refused(node, "the stored operand has more axes than the computed one")
    expanded = values.reshape((1,) * (rank - values.ndim) + values.shape)
    return t.numbers(f"{node.output[0]}_with", expanded.transpose(main.order))


def _binary(
    t: Translation, name: str, kind: str, operands: list[int], shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    if kind in WITHOUT_ACTIVATION:
        result = t.new(name, shape, order)
        t.file.operator(kind, operands, [result.tensor], "MaximumMinimumOptions")
        return
    fused, name = t.activated(name)
    result = t.new(name, shape, order)
    options = f"{kind.capitalize()}Options"
    code = t.code("ActivationFunctionType", fused)
    t.file.operator(kind, operands, [result.tensor], options, fusedActivationFunction=code)


def batch_norm(t: Translation, node: onnx.NodeProto) -> None:
    """BatchNormalization that is not folded into a convolution: a factor and an addend for each channel."""
    gamma, beta, average, variance = (t.array(name).astype(np.float64) for name in node.input[1:5])
    factor = gamma / np.sqrt(variance + number_of(node, "epsilon", 1e-5))
    source = t.value(node.input[0])
    shape = (1, -1) + (1,) * (len(source.shape) - 2)
    scaled = t.new(f"{node.output[0]}_scaled", source.shape, source.order)
    stored = [values.astype(np.float32).reshape(shape) for values in (factor, beta - average * factor)]
    operands = [source.tensor, _beside(t, node, stored[0], source)]
    t.file.operator("MUL", operands, [scaled.tensor], "MulOptions")
    operands = [scaled.tensor, _beside(t, node, stored[1], source)]
    _binary(t, node.output[0], "ADD", operands, source.shape, source.order)


def clip(t: Translation, node: onnx.NodeProto) -> None:
    """Relu and Clip that are not fused into a layer."""
    source, kind = t.value(node.input[0]), activation(t, node)
    if kind is not None:
        result = t.new(node.output[0], source.shape, source.order)
        t.file.operator(kind, [source.tensor], [result.tensor])
        return
    ends = dict(zip(("MAXIMUM", "MINIMUM"), limits(t, node), strict=True))
    ends = {name: end for name, end in ends.items() if np.isfinite(end)}
    if not ends:
        t.values[node.output[0]] = source
    for index, (name, end) in enumerate(ends.items()):
        last = index == len(ends) - 1
        result = t.new(node.output[0] if last else f"{node.output[0]}_{name}", source.shape, source.order)
        stored = t.numbers(f"{result.tensor}_end", np.array([end], dtype=np.float32))
        t.file.operator(name, [source.tensor, stored], [result.tensor], "MaximumMinimumOptions")
        source = result


def unary(t: Translation, node: onnx.NodeProto) -> None:
    """Activation functions that have another name in LiteRT."""
    source = t.value(node.input[0])
    result = t.new(node.output[0], source.shape, source.order)
    if node.op_type == "HardSwish":
        t.file.operator("HARD_SWISH", [source.tensor], [result.tensor], "HardSwishOptions")
    else:
        t.file.operator("LOGISTIC", [source.tensor], [result.tensor])


def hard_sigmoid(t: Translation, node: onnx.NodeProto) -> None:
    """HardSigmoid as relu6(x + 3) / 6, the only form that our networks use."""
    alpha, beta = number_of(node, "alpha", 0.2), number_of(node, "beta", 0.5)
    if abs(alpha - SIXTH) > 1e-6 or beta != 0.5:
        raise refused(node, f"alpha is {alpha:.4g} and beta {beta:.4g}, not 1/6 and 1/2")
    source, name = t.value(node.input[0]), node.output[0]
    shifted = t.new(f"{name}_shifted", source.shape, source.order)
    code = t.code("ActivationFunctionType", "RELU6")
    operands = [source.tensor, t.numbers(f"{name}_three", np.array([3], dtype=np.float32))]
    t.file.operator("ADD", operands, [shifted.tensor], "AddOptions", fusedActivationFunction=code)
    operands = [shifted.tensor, t.numbers(f"{name}_sixth", np.array([SIXTH], dtype=np.float32))]
    result = t.new(name, source.shape, source.order)
    t.file.operator("MUL", operands, [result.tensor], "MulOptions")


def softmax(t: Translation, node: onnx.NodeProto) -> None:
    """Softmax over the last axis of [N, C]."""
    source = t.value(node.input[0])
    if len(source.shape) != 2 or int(number_of(node, "axis", -1)) % 2 != 1:
        raise refused(node, "it does not run over the classes of [N, C]")
    result = t.new(node.output[0], source.shape, source.order)
    t.file.operator("SOFTMAX", [source.tensor], [result.tensor], "SoftmaxOptions", beta=1.0)


def cast(t: Translation, node: onnx.NodeProto) -> None:
    """Cast pixels to floats; casts between float32 and float16 vanish, since all activations are float32."""
    source = t.value(node.input[0])
    if source.kind == "uint8":
        # Images are quantized tensors of scale 1. They keep ONNX's order of axes until a layer reads them: a
        # mean for each channel is subtracted from a whole plane at a time, and not three numbers at a time.
        result = t.new(node.output[0], source.shape, source.order)
        t.file.operator("DEQUANTIZE", [source.tensor], [result.tensor], "DequantizeOptions")
        return
    if int(number_of(node, "to", 0)) not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
        raise refused(node, "its result is not float")
    t.values[node.output[0]] = source


def same(t: Translation, node: onnx.NodeProto) -> None:
    """Identity."""
    t.values[node.output[0]] = t.value(node.input[0])


def reshape(t: Translation, node: onnx.NodeProto) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze, from the known shape of the result."""
    source, shape = t.value(node.input[0]), t.shapes[node.output[0]]
    t.values[node.output[0]] = reshaped(t.file, source, shape, node.output[0])


def transpose(t: Translation, node: onnx.NodeProto) -> None:
    """Transpose, without an operator: only the names of axes change."""
    source = t.value(node.input[0])
    permutation = numbers_of(node, "perm", list(range(len(source.shape)))[::-1])
    t.values[node.output[0]] = transposed(source, permutation)


def concat(t: Translation, node: onnx.NodeProto) -> None:
    """Concat of values."""
    first = t.value(node.input[0])
    order = channels_last(4) if len(first.shape) == 4 else first.order
    tensors = [laid(t.file, t.value(name), order).tensor for name in node.input]
    result = t.new(node.output[0], t.shapes[node.output[0]], order)
    axis = result.at(int(number_of(node, "axis", 0)))
    t.file.operator("CONCATENATION", tensors, [result.tensor], "ConcatenationOptions", axis=axis)


def split(t: Translation, node: onnx.NodeProto) -> None:
    """Split into equal or unequal parts."""
    source = t.value(node.input[0])
    position = source.at(int(number_of(node, "axis", 0)))
    parts = [t.new(name, t.shapes[name], source.order) for name in node.output]
    sizes = [value.lies[position] for value in parts]
    axis = t.numbers(f"{node.output[0]}_axis", np.array(position, dtype=np.int32))
    outputs = [value.tensor for value in parts]
    if len(set(sizes)) == 1:
        t.file.operator("SPLIT", [axis, source.tensor], outputs, "SplitOptions", numSplits=len(parts))
        return
    stored = t.numbers(f"{node.output[0]}_sizes", np.array(sizes, dtype=np.int32))
    operands = [source.tensor, stored, axis]
    t.file.operator("SPLIT_V", operands, outputs, "SplitVOptions", numSplits=len(parts))


def gather(t: Translation, node: onnx.NodeProto) -> None:
    """Gather of all elements in order, which exporters write for one image; no other Gather."""
    source, axis = t.value(node.input[0]), int(number_of(node, "axis", 0))
    taken = t.array(node.input[1]).reshape(-1) if t.is_stored(node.input[1]) else None
    count = source.shape[axis]
    if taken is None or not np.array_equal(taken, np.arange(count)):
        raise refused(node, "it selects parts of its input")
    shape = t.shapes[node.output[0]]
    same_shape = shape == source.shape
    t.values[node.output[0]] = source if same_shape else reshaped(t.file, source, shape, node.output[0])


def quantize(t: Translation, node: onnx.NodeProto) -> None:
    """QuantizeLinear that is not fused into a convolution."""
    if not t.is_stored(node.input[1]) or t.array(node.input[1]).ndim:
        raise refused(node, "its scale is not one stored number")
    check_symmetric(t, node)
    source = t.value(node.input[0])
    result = t.new(node.output[0], source.shape, source.order, scale=float(t.array(node.input[1])))
    t.file.operator("QUANTIZE", [source.tensor], [result.tensor], "QuantizeOptions")


def dequantize(t: Translation, node: onnx.NodeProto) -> None:
    """DequantizeLinear: recorded, and written where a node reads floats."""
    check_symmetric(t, node)
    name, output = node.input[0], node.output[0]
    if not t.is_stored(name):
        t.pending[output] = name
        return
    scale = t.array(node.input[1])
    if scale.ndim and int(number_of(node, "axis", 1)) != 0:
        raise refused(node, "its scales do not run along the output channels")
    t.weights[output] = Weight(t.view.array(name), scale)
