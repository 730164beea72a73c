"""Conversion of a canonical ONNX file to a LiteRT file that computes the same, one image per run."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from calkd_edge.errors import StageFailed
from calkd_edge.export.litert import layers, plain
from calkd_edge.export.litert.fixed import with_single_image
from calkd_edge.export.litert.layout import Value, as_it_is, laid
from calkd_edge.export.litert.translation import REMEDY, Translation
from calkd_edge.onnx_model.graph import GraphView

Handler = Callable[[Translation, onnx.NodeProto], None]

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(plain.ARITHMETIC, plain.arithmetic),
    "AveragePool": layers.pool,
    "BatchNormalization": plain.batch_norm,
    "Cast": plain.cast,
    "Clip": plain.clip,
    "Concat": plain.concat,
    "Conv": layers.conv,
    "DequantizeLinear": plain.dequantize,
    "Flatten": plain.reshape,
    "Gather": plain.gather,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.mean,
    "HardSigmoid": plain.hard_sigmoid,
    "HardSwish": plain.unary,
    "Identity": plain.same,
    "MatMul": layers.gemm,
    "MaxPool": layers.pool,
    "QuantizeLinear": plain.quantize,
    "ReduceMean": layers.mean,
    "Relu": plain.clip,
    "Reshape": plain.reshape,
    "Sigmoid": plain.unary,
    "Softmax": plain.softmax,
    "Split": plain.split,
    "Squeeze": plain.reshape,
    "Transpose": plain.transpose,
    "Unsqueeze": plain.reshape,
}


def convert(model: onnx.ModelProto) -> bytes:
    """Convert a model to a LiteRT file: uint8 [1, 3, H, W] in, the same outputs by name.

    Numbers stored as int8 or float16 stay so. Convolutions between quantized values run in integers, all
    other operators in float32; activations that are float16 in the ONNX file are float32 here.

    Raises:
        StageFailed: an operator, or a form of one, has no counterpart; the message names it.
        EnvironmentProblem: the package is not installed.
    """
    fixed, shapes = with_single_image(model)
    unknown = {node.op_type: node.name for node in fixed.graph.node if not _is_known(node)}
    if unknown:
        kinds = ", ".join(f"{kind} ('{name}')" for kind, name in sorted(unknown.items()))
        raise StageFailed(f"LiteRT: there is no counterpart for {kinds}", remedy=REMEDY)
    translation = Translation(GraphView.of(fixed), shapes)
    (image,) = [value for value in fixed.graph.input if value.name not in translation.view.initializers]
    shape = shapes[image.name]
    number = translation.file.tensor(image.name, shape, "uint8", scale=1.0)
    translation.values[image.name] = Value(number, shape, as_it_is(len(shape)), "uint8", 1.0)
    for node in fixed.graph.node:
        if node.output[0] not in translation.done:
            HANDLERS[node.op_type](translation, node)
    outputs = {}
    for output in fixed.graph.output:
        value = translation.value(output.name)
        value = laid(translation.file, value, as_it_is(len(value.shape)))
        translation.file.tensors[value.tensor].name = output.name
        outputs[output.name] = value.tensor
    return translation.file.content({image.name: number}, outputs, "calkd-edge")


def _is_known(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in HANDLERS
