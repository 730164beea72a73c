"""Which precisions will run on which runtime of a machine, and why others will not."""

from __future__ import annotations

from collections.abc import Callable

from calkd_edge.agent.isa import ARM_DOT_PRODUCTS, BF16, VNNI, X86, X86_INT8
from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.devices.doctor.tensorrt import why_not
from calkd_edge.devices.doctor.versions import tensorrt_of
from calkd_edge.records import Jetson, MachineFacts, Runnable

CPU_PRECISIONS = ("fp32", "fp16", "int8")
GPU_PRECISIONS = ("fp32", "fp16", "int8", "int8_fp16")
"""`int8` stands for int8_mixed and int8_qat too, which run in the same way."""

Expectation = tuple[bool | None, str]
"""Whether a precision is expected to be faster than fp32 (None: not known), and what to say about it."""


def runnable(facts: MachineFacts, jetson: Jetson | None) -> tuple[Runnable, ...]:
    """A line for every runtime and precision."""
    lines = _tensorrt(facts, jetson)
    for runtime in [*_EXPECTATIONS, *(name for name in RUNTIMES if name not in _EXPECTATIONS)]:
        if runtime != "tensorrt":
            lines += _on_cpu(facts, runtime)
    return tuple(lines)


def _tensorrt(facts: MachineFacts, jetson: Jetson | None) -> list[Runnable]:
    reasons = why_not(facts, jetson)
    version = tensorrt_of(facts) if facts.python is not None and facts.python.has("tensorrt") else None
    advice = {"int8": "nets of depthwise convolutions are often faster in fp16: measure both"}
    lines = []
    for precision in GPU_PRECISIONS:
        why = reasons[0].what if reasons else advice.get(precision, "")
        gains = None if precision == "fp32" or reasons or facts.emulated else True
        lines.append(_line("tensorrt", version, precision, not reasons, gains, why))
    return lines


def _on_cpu(facts: MachineFacts, runtime: str) -> list[Runnable]:
    """A runtime that has been installed can run every precision; what it gains depends on the processor."""
    absent, version = _absent(facts, runtime)
    expectations = _EXPECTATIONS.get(runtime, _unknown)(facts)
    return [
        _line(runtime, version, precision, not absent, gains, absent or why)
        for precision, (gains, why) in zip(CPU_PRECISIONS, expectations, strict=True)
    ]


def _onnxruntime(facts: MachineFacts) -> list[Expectation]:
    if facts.machine in X86:
        # With VNNI and AMX, the quickstart's student took 1.4 of fp32's time (benchmarks/benchmarking).
        pays = None if VNNI & set(facts.isa) else False
        small = "may be slower than fp32 for small networks: measure it with calkd-edge benchmark"
        why = small if pays is None else "this processor has no VNNI: exact, but not faster than fp32"
    else:
        pays = bool(ARM_DOT_PRODUCTS & set(facts.isa))
        why = "" if pays or facts.emulated else "this processor has no dot products (asimddp, i8mm): slow"
    half = "most layers are cast to float32"
    return [(None, ""), (False, half), (None if facts.emulated else pays, why)]


def _openvino(facts: MachineFacts) -> list[Expectation]:
    pays = True if X86_INT8 & set(facts.isa) else None
    half = "computed in float32, unless inference_precision is f16 and the processor has it"
    brief = "in float32; this processor has bfloat16, which inference_precision: bf16 selects"
    return [(None, brief if BF16 & set(facts.isa) else ""), (False, half), (pays, "")]


def _litert(facts: MachineFacts) -> list[Expectation]:
    pays = True if ARM_DOT_PRODUCTS & set(facts.isa) and not facts.emulated else None
    return [(None, ""), (False, "its weights stay float16, computed in float32"), (pays, "")]


def _unknown(facts: MachineFacts) -> list[Expectation]:
    """Of a runtime that a plugin added: its speed is not known here."""
    return [(None, ""), (None, ""), (None, "")]


_EXPECTATIONS: dict[str, Callable[[MachineFacts], list[Expectation]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "litert": _litert,
}
"""By runtime, in the order of the report: what to expect of each of CPU_PRECISIONS."""


def _absent(facts: MachineFacts, runtime: str) -> tuple[str, str | None]:
    """Why the agent's Python cannot run it, empty where it can, and the installed version."""
    python = facts.python
    if python is None:
        return "no Python answered", None
    version = (python.packages or {}).get(runtime)
    if version is None:
        return python.cannot_import(runtime), None
    return ("" if python.has("numpy") else python.cannot_import("numpy")), version


def _line(
    runtime: str, version: str | None, precision: str, runs: bool, gains: bool | None, why: str
) -> Runnable:
    expected = gains if runs else None
    return Runnable(runtime=runtime, version=version, precision=precision, runs=runs, gains=expected, why=why)
