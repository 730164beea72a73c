"""Two runtimes of a plugin, as a user would write them: one runs ONNX files, one files of its own format."""

from __future__ import annotations

from typing import Any

from calkd_edge.agent.runtimes import CONVERTED, RuntimeInfo, add_runtime, all_options

DEFAULTS: dict[str, Any] = {"threads": 1, "sha256": None}
MAGIC = b"TOY1"


class Toy:
    """A model file, by ONNX Runtime's session without options."""

    fixed = None

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self.model = model
        self.options = all_options("toy", DEFAULTS, options)

    def __enter__(self) -> Toy:
        import onnxruntime

        with open(self.model, "rb") as handle:
            content = handle.read()
        self.version = onnxruntime.__version__
        self.session = onnxruntime.InferenceSession(self.onnx_of(content), providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        return self

    def __exit__(self, *error: object) -> None:
        del self.session

    def onnx_of(self, content: bytes) -> bytes:
        return content

    def infer(self, images: Any) -> dict[str, Any]:
        return dict(zip(self.outputs, self.session.run(self.outputs, {"images": images})))  # noqa: B905  # Python 3.8 has no strict

    def session_options(self) -> dict[str, Any]:
        return dict(self.options, toy=self.version)


class ToyFormat(Toy):
    """A file that starts with MAGIC, one image a run."""

    fixed = 1

    def onnx_of(self, content: bytes) -> bytes:
        assert content.startswith(MAGIC)
        return content[len(MAGIC) :]


_PACKAGE = ("onnxruntime",)
add_runtime("toy", RuntimeInfo(__name__, "Toy", "Toy Runtime", "onnxruntime", _PACKAGE))
add_runtime(
    "toy_format",
    RuntimeInfo(__name__, "ToyFormat", "Toy Format", "onnxruntime", _PACKAGE, CONVERTED, ".toy"),
)
