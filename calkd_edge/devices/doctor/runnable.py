"""Which precisions will run on which runtime of a machine, and why others will not."""

from __future__ import annotations

from calkd_edge.devices.doctor.tensorrt import why_not
from calkd_edge.devices.doctor.versions import tensorrt_of
from calkd_edge.records import Jetson, MachineFacts, Runnable

VNNI = frozenset({"avx512_vnni", "avx_vnni"})
DOTS = frozenset({"asimddp", "i8mm"})
BF16 = frozenset({"avx512_bf16", "amx_bf16"})
X86 = ("x86_64", "AMD64")
CPU_PRECISIONS = ("fp32", "fp16", "int8")
GPU_PRECISIONS = ("fp32", "fp16", "int8", "int8_fp16")
"""`int8` stands for int8_mixed and int8_qat too, which run in the same way."""


def runnable(facts: MachineFacts, jetson: Jetson | None) -> tuple[Runnable, ...]:
    """A line for every runtime and precision."""
    return (*_tensorrt(facts, jetson), *_onnxruntime(facts), *_openvino(facts), *_litert(facts))


def _tensorrt(facts: MachineFacts, jetson: Jetson | None) -> list[Runnable]:
    refused = why_not(facts, jetson)
    version = tensorrt_of(facts) if facts.python is not None and facts.python.has("tensorrt") else None
    said = {"int8": "nets of depthwise convolutions are often faster in fp16: measure both"}
    found = []
    for precision in GPU_PRECISIONS:
        why = refused[0].what if refused else said.get(precision, "")
        gains = None if precision == "fp32" or refused or facts.emulated else True
        found.append(_line("tensorrt", version, precision, not refused, gains, why))
    return found


def _onnxruntime(facts: MachineFacts) -> list[Runnable]:
    absent, version = _absent(facts, "onnxruntime")
    isa = set(facts.isa)
    if facts.machine in X86:
        pays = bool(VNNI & isa)
        why = "" if pays else "this processor has no VNNI: exact, but not faster than fp32"
    else:
        pays = bool(DOTS & isa)
        why = "" if pays else "this processor has no dot products (asimddp, i8mm): slow"
    return [
        _line("onnxruntime", version, "fp32", not absent, None, absent),
        _line("onnxruntime", version, "fp16", not absent, False, absent or "most layers are cast to float32"),
        _line("onnxruntime", version, "int8", not absent, None if facts.emulated else pays, absent or why),
    ]


def _openvino(facts: MachineFacts) -> list[Runnable]:
    absent, version = _absent(facts, "openvino")
    pays = True if VNNI & set(facts.isa) or "amx_int8" in facts.isa else None
    half = "computed in float32, unless inference_precision asks for f16 and the processor has it"
    brief = "in float32; this processor has bfloat16, which inference_precision: bf16 asks for"
    why = brief if BF16 & set(facts.isa) else ""
    return [
        _line("openvino", version, "fp32", not absent, None, absent or why),
        _line("openvino", version, "fp16", not absent, False, absent or half),
        _line("openvino", version, "int8", not absent, pays, absent),
    ]


def _litert(facts: MachineFacts) -> list[Runnable]:
    absent, version = _absent(facts, "litert")
    pays = True if DOTS & set(facts.isa) and not facts.emulated else None
    half = "its weights stay float16, computed in float32"
    return [
        _line("litert", version, "fp32", not absent, None, absent),
        _line("litert", version, "fp16", not absent, False, absent or half),
        _line("litert", version, "int8", not absent, pays, absent),
    ]


def _absent(facts: MachineFacts, runtime: str) -> tuple[str, str | None]:
    """Why the agent's Python cannot run it, empty where it can, and the version that it has."""
    python = facts.python
    if python is None:
        return "no Python answered", None
    version = (python.packages or {}).get(runtime)
    if version is None:
        return f"{python.path} cannot import {runtime}", None
    return ("" if python.has("numpy") else f"{python.path} has no numpy"), version


def _line(
    runtime: str, version: str | None, precision: str, runs: bool, gains: bool | None, why: str
) -> Runnable:
    expected = gains if runs else None
    return Runnable(runtime=runtime, version=version, precision=precision, runs=runs, gains=expected, why=why)
