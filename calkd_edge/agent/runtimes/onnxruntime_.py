"""ONNX Runtime, with its providers chosen and checked, and every option on record.

On x86 without VNNI instructions `session.x64quantprecision` is set: ONNX Runtime's 8-bit products saturate
there otherwise, and an int8 figure is fiction. Elsewhere they are exact, and the option makes them slower.
"""

from __future__ import annotations

import platform
from typing import Any

from calkd_edge.agent import board
from calkd_edge.agent.place import Place
from calkd_edge.agent.problem import AgentProblem

VNNI = frozenset({"avx512_vnni", "avx_vnni"})

CPU = "CPUExecutionProvider"
DEFAULTS: dict[str, Any] = {
    "threads": 1,
    "providers": [CPU],
    "optimization": "all",
    "disabled_optimizers": [],
    "spinning": True,
}
"""spinning: threads wait awake for their next piece of work, as ONNX Runtime has it where nobody says
otherwise; one thread has none to wait for."""


class OnnxRuntime:
    """One session on one file.

    Args:
        model: path of the .onnx file.
        options: threads, providers, optimization ("all" or "none"), disabled_optimizers, spinning; see
            DEFAULTS.
    """

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self.model = model
        self.options = dict(DEFAULTS, **options)
        unknown = sorted(set(self.options) - set(DEFAULTS))
        if unknown:
            raise AgentProblem("onnxruntime: unknown option {}".format(", ".join(unknown)), "Remove it.")
        self.session: Any = None
        self.fixed: int | None = None

    def __enter__(self) -> OnnxRuntime:
        try:
            import onnxruntime
        except ImportError as missing:
            raise AgentProblem(
                f"onnxruntime cannot be imported by this Python: {missing}",
                "Install it there: python3 -m pip install --user onnxruntime",
            ) from missing
        wanted = self.options["providers"]
        absent = [name for name in wanted if name not in onnxruntime.get_available_providers()]
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
                providers=wanted,
                disabled_optimizers=list(self.options["disabled_optimizers"]) or None,
            )
        except Exception as refused:  # onnxruntime's own errors share no base class but Exception
            raise AgentProblem(
                f"onnxruntime {onnxruntime.__version__} refuses {self.model}: {refused}",
                "Check the file with: calkd-edge lint MODEL.onnx"
                if CPU in wanted
                else f"Either {wanted[0]} does not load here (see what it needs), or it does not take all of "
                f"the file: add {CPU} to options.providers if the rest may run there.",
            ) from refused
        if self.session.get_providers()[: len(wanted)] != wanted:
            raise AgentProblem(
                f"onnxruntime fell back to {self.session.get_providers()} instead of {wanted}",
                "Repair the provider on this device, or name the one that works.",
            )
        self.version = onnxruntime.__version__
        given = self.session.get_inputs()[0]
        self.feed = given.name
        self.fixed = given.shape[0] if given.shape and isinstance(given.shape[0], int) else None
        self.outputs = [output.name for output in self.session.get_outputs()]
        return self

    def __exit__(self, *error: object) -> None:
        self.session = None

    def infer(self, images: Any) -> dict[str, Any]:
        """Every output by name for uint8 images [N, 3, H, W]."""
        return dict(zip(self.outputs, self.session.run(self.outputs, {self.feed: images})))

    def session_options(self) -> dict[str, Any]:
        """What the session was made with."""
        recorded = dict(self.options, onnxruntime=self.version)
        recorded.update(self._config())
        return recorded

    def _config(self) -> dict[str, str]:
        entries = {"session.intra_op.allow_spinning": "1" if self.options["spinning"] else "0"}
        if CPU not in self.options["providers"]:  # it would run there what the others do not take
            entries["session.disable_cpu_ep_fallback"] = "1"
        if platform.machine() in ("x86_64", "AMD64") and not VNNI & set(board.isa(Place())):
            entries["session.x64quantprecision"] = "1"
        return entries
