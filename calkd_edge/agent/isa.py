"""Names of processors and of their instruction sets: the only table of them in this package.

A name counts only when /proc/cpuinfo writes it so. What is not in ISA_FLAGS, the agent never reports.
"""

from __future__ import annotations

ARM, X86 = ("aarch64", "armv7l"), ("x86_64", "AMD64")
"""Answers of `uname -m`."""

ISA_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_fp16",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "asimdhp",
    "i8mm",
    "sve",
)
"""The flags that decide how int8, fp16 and bfloat16 run, in the order in which the agent reports them.

The order and the names enter the fingerprints of what was measured on a device.
"""

VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""x86 with exact 8-bit products: without them, those of ONNX Runtime saturate."""

ARM_DOT_PRODUCTS = frozenset({"asimddp", "i8mm"})
X86_INT8 = VNNI | {"amx_int8"}
INT8 = X86_INT8 | ARM_DOT_PRODUCTS
FP16 = frozenset({"avx512_fp16", "asimdhp"})
BF16 = frozenset({"avx512_bf16", "amx_bf16"})
