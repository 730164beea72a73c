"""The int8 file for ONNX Runtime's CPU provider, derived from the canonical file before any folding.

A convolution runs in integers there only if its result is quantized for all its readers, and an activation
function costs nothing where the integers end where it does. So the file differs from the canonical one:

- What a convolution or a sum returns is quantized, and its readers read the quantized values.
- Activations are uint8 from the lowest to the highest value that they take, not int8 around 0: behind a ReLU
  all 256 levels lie above 0, and Clip and Relu disappear, since QuantizeLinear ends where they do.
- Biases shift so that the mean of each layer's output is that of the canonical file.

This changes results, mostly for the better: `calkd_edge.stages.simulate` simulates the file that is executed.
With dyadic scales, where all machines compute the same bits, and for a file quantized elsewhere, none of this
is done: activations become uint8 around 128, which are the same values.

Always: no two Q/DQ nodes share an initializer (ONNX Runtime 1.32 does not open a file in which two weights
share one, if configured for exact products on x86); biases of convolutions that run in integers are int32,
as the kernels require, which rounds, and a channel whose bias does not fit gets coarser weights; a Gemm's
bias becomes a separate Add, since ONNX Runtime would round it too; a convolution that stays in float gets its
weight from a Cast and a Mul instead of a DequantizeLinear: the same numbers, which ONNX Runtime computes once
when it opens the file. TensorRT refuses such a file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from calkd_edge.onnx_model.graph import GraphView, copy_of
from calkd_edge.quantization.bias_correction import with_corrected_biases
from calkd_edge.quantization.cpu.canonical import activation_scales, is_canonical, pairs
from calkd_edge.quantization.cpu.integers import in_integers
from calkd_edge.quantization.cpu.kernels import (
    around_128,
    biases_behind,
    fit_biases,
    integer_biases,
    quantize_before_activations,
    unshare,
    weights_of_float_layers,
)

__all__ = ["derive_for_cpu", "is_canonical"]


def derive_for_cpu(model: onnx.ModelProto, images: np.ndarray | None = None) -> onnx.ModelProto:
    """Derive a copy of a canonical int8 model for ONNX Runtime's CPU provider; never for TensorRT.

    Where the rest is float16, nothing is fused: such a file only loses its shared initializers, and its
    convolutions get their biases from an Add.

    Args:
        model: as calkd_edge.quantization.placement writes it.
        images: uint8 [N, 3, H, W], to measure the values that become integers; without them, and with dyadic
            scales, the integers are those of `model`.

    Raises:
        ValueError: the model is not in that form; see `is_canonical`.
    """
    if not is_canonical(model):
        raise ValueError("the model is not in the int8 form that insert_qdq writes: run it unchanged")
    view = GraphView.of(model)
    if any(view.initializers[node.input[1]].data_type == TensorProto.FLOAT16 for node in pairs(view)):
        derived = copy_of(model)
        biases_behind(GraphView.of(derived))
        unshare(GraphView.of(derived))
        return derived
    if images is None or _is_dyadic(view):
        derived = copy_of(model)
        around_128(GraphView.of(derived))
    else:
        derived = with_corrected_biases(in_integers(model, images), model, images, "free")
    quantize_before_activations(GraphView.of(derived))
    weights_of_float_layers(GraphView.of(derived))
    fit_biases(GraphView.of(derived))
    integer_biases(GraphView.of(derived))
    unshare(GraphView.of(derived))
    onnx.checker.check_model(derived, full_check=True)
    return derived


def _is_dyadic(view: GraphView) -> bool:
    """Whether every activation's scale is a power of two."""
    return all(np.frexp(scale)[0] == 0.5 for scale in activation_scales(view).values())
