"""Options of TensorRT: their defaults, and what the values that name a module or a file may be.

They come from recipes, which name no program and no place: a module is one of a few, a file has a plain name
in the cache folder.
"""

from __future__ import annotations

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

NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)


def complete(options: Mapping[str, object]) -> dict[str, Any]:
    """The options over their defaults, checked.

    Raises:
        AgentProblem: an unknown option, or a value that it cannot have.
    """
    every = all_options("tensorrt", DEFAULTS, options)
    if every["module"] not in MODULES:
        raise AgentProblem(
            "tensorrt: module cannot be {!r}".format(every["module"]), "Use {}.".format(" or ".join(MODULES))
        )
    name = every["timing_cache"]
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
