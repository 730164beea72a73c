"""Options of TensorRT: their defaults, and what the values that name a module or a file may be.

They come from recipes, which name no program and no place: a module is one of a few, a file has a plain name
in the cache folder.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any, Mapping

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import all_options

MODULES = ("tensorrt", "tensorrt_rtx")
DEFAULTS: dict[str, Any] = {
    "module": "tensorrt",
    "max_images": 1,
    "workspace_mib": 1024,
    "optimization_level": None,
    "timing_cache": None,
    "dla_core": None,
    "cuda_graph": False,
    "sha256": None,
    "capability": None,
}
"""max_images: in one run, by default one, as a camera sends them; dla_core: experimental, with exactly
max_images in a run; timing_cache: a name; capability: only for TensorRT for RTX, such as SM86."""

BOUNDS: dict[str, tuple[int, float]] = {
    "max_images": (1, math.inf),
    "workspace_mib": (1, math.inf),
    "optimization_level": (0, 5),
    "dla_core": (0, math.inf),
}
CAPABILITY = re.compile("SM[0-9]{2,3}")
NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)


def complete(options: Mapping[str, object]) -> dict[str, Any]:
    """The options over their defaults, checked.

    Raises:
        AgentProblem: an unknown option, or a value that it cannot have.
    """
    every = all_options("tensorrt", DEFAULTS, options, {"module": MODULES})
    for key, (least, most) in BOUNDS.items():
        value = every[key]
        if value is not None and not (type(value) is int and least <= value <= most):
            raise AgentProblem(
                f"tensorrt: {key} cannot be {value!r}",
                f"Use a whole number from {least}{' on' if most == math.inf else f' to {most}'}.",
            )
    name, capability = every["timing_cache"], every["capability"]
    if capability is not None and not (isinstance(capability, str) and CAPABILITY.fullmatch(capability)):
        raise AgentProblem(f"tensorrt: capability cannot be {capability!r}", "Use a text such as SM86.")
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        raise AgentProblem(
            f"tensorrt: timing_cache cannot be {name!r}: it is a name, and no path",
            "Write a name such as orin.cache: the file is kept in ~/.cache/calkd-edge/timing there.",
        )
    return every


def timing_cache_file(name: str) -> str:
    """The path of a timing cache on this machine; its folder is made."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(root, "calkd-edge", "timing")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name)
