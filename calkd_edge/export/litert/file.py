"""A LiteRT file under construction: tensors, stored numbers and operators, packed into a flatbuffer.

The tables are those of LiteRT's schema, which its package contains as generated code. Stored numbers are
aligned to 16 bytes, as its kernels expect.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from calkd_edge.errors import EnvironmentProblem

EXTRA = "litert"
IDENTIFIER = b"TFL3"
ALIGNMENT = 16
SIGNATURE = "serving_default"

KINDS = {"uint8": "UINT8", "int8": "INT8", "int32": "INT32", "float16": "FLOAT16", "float32": "FLOAT32"}

VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "PAD": 2,
    "QUANTIZE": 1,
    "TRANSPOSE": 2,
}
"""Versions of the operators that support int8 only since a later one; all others use their first."""


def installed() -> ModuleType:
    """The schema of LiteRT's package.

    Raises:
        EnvironmentProblem: the package is not installed.
    """
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as missing:
        raise EnvironmentProblem(
            f"the runtime litert needs the package ai-edge-litert, which is not installed: {missing}",
            remedy=f"pip install 'calkd-edge[{EXTRA}]'",
        ) from missing


class LiteFile:
    """A file with one subgraph, filled in the order of its operators."""

    def __init__(self) -> None:
        self.schema = installed()
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [self.schema.BufferT()]  # the first is the empty one
        self.operators: list[Any] = []
        self.codes: dict[tuple[str, int], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str,
        *,
        scale: np.ndarray | float | None = None,
        axis: int = 0,
    ) -> int:
        """Add a tensor that an operator or the caller writes; returns its number.

        Args:
            name: of the tensor, for inputs, outputs and readers.
            shape: in memory.
            kind: numpy's name of its type.
            scale: of a quantized tensor, with zero point 0; several run along `axis`.
            axis: of the scales.
        """
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, [int(size) for size in shape], 0
        tensor.type = getattr(self.schema.TensorType, KINDS[kind])
        tensor.hasRank = True
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = [float(number) for number in scales]
            tensor.quantization.zeroPoint = [0] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(
        self, name: str, values: np.ndarray, *, scale: np.ndarray | float | None = None, axis: int = 0
    ) -> int:
        """Add a stored tensor; returns its number."""
        number = self.tensor(name, values.shape, str(values.dtype), scale=scale, axis=axis)
        self.buffers.append(_aligned(self.schema, values))
        self.tensors[number].buffer = len(self.buffers) - 1
        return number

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int | None = None,
        **fields: object,
    ) -> None:
        """Add an operator; `options` names its table of options, `fields` fill it."""
        operator = self.schema.OperatorT()
        version = version or VERSIONS.get(kind, 1)
        operator.opcodeIndex = self.codes.setdefault((kind, version), len(self.codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in fields.items():
                setattr(operator.builtinOptions, name, value)
        self.operators.append(operator)

    def content(self, inputs: dict[str, int], outputs: dict[str, int], description: str) -> bytes:
        """The bytes of the file, with one signature that names its inputs and outputs."""
        flatbuffers: Any = importlib.import_module("flatbuffers")  # comes with LiteRT's package
        graph = self.schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs, signature.outputs = self._named(inputs), self._named(outputs)
        model = self.schema.ModelT()
        model.version, model.description = 3, description
        model.operatorCodes = [self._code(kind, version) for kind, version in self.codes]
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self.buffers, [signature]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _named(self, tensors: dict[str, int]) -> list[object]:
        entries = []
        for name, number in tensors.items():
            entry = self.schema.TensorMapT()
            entry.name, entry.tensorIndex = name, number
            entries.append(entry)
        return entries

    def _code(self, kind: str, version: int) -> object:
        code = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, kind)
        # Two fields hold the number: readers older than the 128th operator know only the first.
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        return code


def _aligned(schema: ModuleType, numbers: np.ndarray) -> object:
    """A buffer whose numbers are aligned to ALIGNMENT bytes; the generated class does not align them."""

    base: Any = schema.BufferT

    class Aligned(base):  # type: ignore[misc]  # known at run time only
        def Pack(self, builder: Any) -> object:  # noqa: N802  # the generated code's name
            count = len(self.data)
            builder.StartVector(1, count, ALIGNMENT)
            builder.head -= count
            builder.Bytes[builder.head : builder.head + count] = self.data.tobytes()
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    buffer = Aligned()
    buffer.data = np.frombuffer(np.asarray(numbers, order="C").tobytes(), dtype=np.uint8)
    return buffer
