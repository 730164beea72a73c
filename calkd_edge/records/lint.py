"""What the linter found in an ONNX file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record

Severity = Literal["error", "warning", "note"]
Target = Literal["tensorrt", "onnxruntime"]


class Finding(Record):
    """One thing that stands in a file and should not, or that its user should know."""

    rule: str = Field(description="as listed by calkd-edge list lint-rules")
    severity: Severity
    node: str = Field(description="the first node it was seen at; empty where it is about the whole file")
    message: str = Field(description="what stands there, and why it matters")
    remedy: str
    places: int = Field(1, description="how many nodes it was seen at")


class Compilation(Record):
    """What a compiler made of a file."""

    compiler: str
    capability: str = Field(description="compute capability compiled for, such as SM86")
    errors: tuple[str, ...] = Field(description="node (operator): reason; empty where there is a plan")
    kernels: int
    weighted: dict[str, int] = Field(
        description="first input's type of every convolution and product -> how many"
    )


class Lint(Record):
    """A file held against the rules of what is to run it."""

    schema_version: Literal[1] = 1
    file: str
    sha256: str
    target: Target
    opset: int
    nodes: int
    findings: tuple[Finding, ...]
    compilation: Compilation | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those with which the file is not to be shipped."""
        return tuple(one for one in self.findings if one.severity == "error")
