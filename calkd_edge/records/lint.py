"""Findings of the linter in an ONNX file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calkd_edge.records.base import Record

Severity = Literal["error", "warning", "note"]
Target = Literal["tensorrt", "onnxruntime"]


class Finding(Record):
    """A problem of a file, or a fact that its user should know."""

    rule: str = Field(description="name of a rule; docs/export.md lists them")
    severity: Severity
    node: str = Field(description="the first node with it; empty where it concerns the file as a whole")
    message: str = Field(description="what is wrong, and why it matters")
    remedy: str
    places: int = Field(1, description="how many nodes have it")


class Compilation(Record):
    """The result of compiling a file."""

    compiler: str
    capability: str = Field(description="compute capability compiled for, such as SM86")
    errors: tuple[str, ...] = Field(description="node (operator): reason; empty where compiling succeeded")
    kernels: int
    weighted: dict[str, int] = Field(
        description="type of the first input of every convolution and product -> how many"
    )


class Lint(Record):
    """A file checked against the rules of the runtime that will run it."""

    schema_version: Literal[1] = 1
    file: str
    sha256: str = Field(description="of the file; with external data, of these too")
    target: Target
    opset: int
    nodes: int
    findings: tuple[Finding, ...]
    compilation: Compilation | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings with which the file must not ship."""
        return tuple(finding for finding in self.findings if finding.severity == "error")
