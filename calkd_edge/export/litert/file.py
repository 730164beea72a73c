"""A LiteRT file in the making: tensors, stored numbers and operators, packed into a flatbuffer.

The tables are those of LiteRT's own schema, which its package brings as generated code. Numbers of a file lie
at multiples of 16 bytes, as its kernels expect them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
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
"""Of operators that take int8 from a later version on; all else is at its first."""


def installed() -> Any:
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
    """One subgraph, filled in the order of its operators."""

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
        """A tensor that an operator makes, or the caller gives; returns its number.

        Args:
            name: for readers, and for inputs and outputs.
            shape: as it lies in memory.
            kind: numpy's name of its type.
            scale: of a quantized tensor, with zero point 0; several stand along `axis`.
            axis: of scales.
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
        """A stored tensor; returns its number."""
        number = self.tensor(name, values.shape, str(values.dtype), scale=scale, axis=axis)
        buffer = _aligned(self.schema)
        buffer.data = np.frombuffer(np.asarray(values, order="C").tobytes(), dtype=np.uint8)
        self.buffers.append(buffer)
        self.tensors[number].buffer = len(self.buffers) - 1
        return number

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int | None = None,
        **fields: Any,
    ) -> None:
        """One more operator; `options` names its table of options, `fields` fill it."""
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
        """The file, with one signature that names its inputs and outputs."""
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

    def _named(self, tensors: dict[str, int]) -> list[Any]:
        entries = []
        for name, number in tensors.items():
            entry = self.schema.TensorMapT()
            entry.name, entry.tensorIndex = name, number
            entries.append(entry)
        return entries

    def _code(self, kind: str, version: int) -> Any:
        code = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, kind)
        # Two fields hold the number: readers from before there were more than 127 operators know the first.
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        return code


def _aligned(schema: Any) -> Any:
    """A buffer whose numbers lie at a multiple of ALIGNMENT bytes; the generated one only packs them."""

    class Aligned(schema.BufferT):  # type: ignore[misc]  # found at run time
        def Pack(self, builder: Any) -> Any:  # noqa: N802  # the generated code's name
            count = len(self.data)
            builder.StartVector(1, count, ALIGNMENT)
            builder.head -= count
            builder.Bytes[builder.head : builder.head + count] = self.data.tobytes()
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    return Aligned()
