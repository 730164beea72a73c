"""Compilation of a file by NVIDIA's compiler, without a GPU: TensorRT for RTX, the extra [trt-check].

It parses and compiles for a graphics card, never for a Jetson. The parser is of the same
family, the builder is strongly typed, and the types of the kernels show what would silently run in float. It
says nothing about speed; its plan is discarded.

Source: the verbose log of a build lists every kernel under "Layers:" with the types of its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from calkd_edge.agent import engine
from calkd_edge.agent.engine_options import complete
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.records import Compilation

CAPABILITIES = ("SM80", "SM86", "SM89", "SM120", "SM121")
"""SM86 is the closest to Orin (SM87), which the compiler does not support."""

MOST_IMAGES = 32
_WEIGHTED = ("correlation", "gemm", "fc", "conv", "runtime_fusion")
"""Kinds of kernels with weights; the last is a convolution fused with the nodes after it."""


def compile_file(path: Path, capability: str = "SM86") -> Compilation:
    """Parse and compile a file for one compute capability.

    Raises:
        EnvironmentProblem: the extra is not installed.
        RecipeError: the compiler does not support the capability.
    """
    if capability not in CAPABILITIES:
        raise RecipeError(
            f"the compute capability {capability} is not supported",
            remedy=f"Valid capabilities: {', '.join(CAPABILITIES)}.",
        )
    trt = _compiler()
    logger, log = engine.logger_of(trt, everything=True)
    errors: tuple[str, ...] = ()
    try:
        options = complete({"capability": capability, "max_images": MOST_IMAGES})
        engine.plan_of(trt, logger, log, str(path), options)
    except AgentProblem as refused:
        errors = (refused.message,)
    lines = [line for _, message in log if "LayerType:" in message for line in message.splitlines()]
    kernels = [] if errors else [line for line in lines if line.startswith("Name:")]
    return Compilation(
        compiler=f"TensorRT for RTX {trt.__version__}",
        capability=capability,
        errors=errors,
        kernels=len(kernels),
        weighted=_weighted(kernels),
    )


def _compiler() -> ModuleType:
    try:
        import tensorrt_rtx  # noqa: PLC0415  # an optional extra of 95 MB
    except ImportError as missing:
        raise EnvironmentProblem(
            f"TensorRT for RTX cannot be imported: {missing}",
            remedy="pip install 'calkd-edge[trt-check]' (NVIDIA's licence; x86-64 and arm64 Linux)",
        ) from missing
    compiler: ModuleType = tensorrt_rtx
    return compiler


def _weighted(kernels: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in kernels:
        kind = re.search(r"LayerType: (\w+)", line)
        if kind is None or not kind.group(1).startswith(_WEIGHTED):
            continue
        first = re.search(r"Inputs: \[.*?Datatype: (\w+)", line)
        name = first.group(1) if first else "unknown"
        counts[name] = counts.get(name, 0) + 1
    return counts
