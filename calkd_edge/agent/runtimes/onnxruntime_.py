"""ONNX Runtime with explicit providers, which are checked, and every option on record.

On x86 without VNNI instructions `session.x64quantprecision` is set: ONNX Runtime's 8-bit products saturate
there otherwise, and int8 figures are wrong. Elsewhere they are exact, and the option makes them slower.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Mapping

from calkd_edge.agent import board
from calkd_edge.agent.isa import VNNI, X86
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import all_options

if TYPE_CHECKING:
    import numpy as np

CPU = "CPUExecutionProvider"
DEFAULTS: dict[str, Any] = {
    "threads": 1,
    "providers": [CPU],
    "optimization": "all",
    "disabled_optimizers": [],
    "spinning": True,
}
"""spinning: idle threads wait in a loop for work, ONNX Runtime's default; a single thread never waits."""
CHOICES = {"optimization": ("all", "none")}


class OnnxRuntime:
    """One session on one file.

    Args:
        model: path of the .onnx file.
        options: threads, providers, optimization ("all" or "none"), disabled_optimizers, spinning; see
            DEFAULTS.
    """

    def __init__(self, model: str, options: Mapping[str, object]) -> None:
        self.model = model
        self.options = all_options("onnxruntime", DEFAULTS, options, CHOICES)
        self.session: Any = None
        self.fixed: int | None = None

    def __enter__(self) -> OnnxRuntime:
        try:
            import onnxruntime
        except Exception as missing:  # also a package of another Python or numpy
            raise AgentProblem(
                f"onnxruntime cannot be imported by this Python: {missing}",
                "Install it there: python3 -m pip install --user onnxruntime",
            ) from missing
        providers = self.options["providers"]
        absent = [name for name in providers if name not in onnxruntime.get_available_providers()]
        if absent:
            raise AgentProblem(
                "onnxruntime has no provider {}".format(", ".join(absent)),
                "Available here: {}.".format(", ".join(onnxruntime.get_available_providers())),
            )
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = int(self.options["threads"])
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        levels = onnxruntime.GraphOptimizationLevel
        settings.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if self.options["optimization"] == "all" else levels.ORT_DISABLE_ALL
        )
        for key, value in self._config().items():
            settings.add_session_config_entry(key, value)
        try:
            self.session = onnxruntime.InferenceSession(
                self.model,
                settings,
                providers=providers,
                disabled_optimizers=list(self.options["disabled_optimizers"]) or None,
            )
        except Exception as refused:  # onnxruntime's own errors share no base class but Exception
            raise AgentProblem(
                f"onnxruntime {onnxruntime.__version__} refuses {self.model}: {refused}",
                "Check the file with: calkd-edge lint MODEL.onnx"
                if CPU in providers
                else f"Either {providers[0]} does not load here (check its requirements), or it does not run "
                f"every node of the file: add {CPU} to options.providers if the others may run there.",
            ) from refused
        if self.session.get_providers()[: len(providers)] != providers:
            raise AgentProblem(
                f"onnxruntime fell back to {self.session.get_providers()} instead of {providers}",
                "Repair the provider on this device, or name the one that works.",
            )
        self.version = onnxruntime.__version__
        feed = self.session.get_inputs()[0]
        self.feed = feed.name
        self.fixed = feed.shape[0] if feed.shape and isinstance(feed.shape[0], int) else None
        self.outputs = [output.name for output in self.session.get_outputs()]
        return self

    def __exit__(self, *error: object) -> None:
        self.session = None

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name for uint8 images [N, 3, H, W]."""
        return dict(zip(self.outputs, self.session.run(self.outputs, {self.feed: images})))

    def session_options(self) -> dict[str, object]:
        """What the session was made with."""
        recorded = dict(self.options, onnxruntime=self.version)
        recorded.update(self._config())
        return recorded

    def _config(self) -> dict[str, str]:
        entries = {"session.intra_op.allow_spinning": "1" if self.options["spinning"] else "0"}
        if CPU not in self.options["providers"]:  # it would run the nodes that the others refuse
            entries["session.disable_cpu_ep_fallback"] = "1"
        if platform.machine() in X86 and not VNNI & set(board.isa(Machine())):
            entries["session.x64quantprecision"] = "1"
        return entries
