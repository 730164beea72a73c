"""Stage: a step of a plan, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit of the stage."""


@dataclass(frozen=True)
class Job:
    """The arguments of a stage function: all that it may read, and where it may write.

    Attributes:
        params: plain JSON values with every default filled in; part of the fingerprint.
        locations: paths and resources (roots, accelerator, threads): plain JSON, not part of the fingerprint.
        inputs: published folders by role, read-only.
        out: the empty folder for the results.
        scratch: a folder that survives a kill; its files are from an earlier attempt at the same stage.
        progress: called with (done, total).
    """

    params: Mapping[str, Any]
    locations: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    progress: Progress


StageFunction = Callable[[Job], None]


@dataclass(frozen=True)
class Stage:
    """A step of a plan.

    Attributes:
        name: what people call it: "distill", "benchmark-int8@local".
        path: import path of a module-level function, "module:name"; part of the fingerprint.
        version: bumped by hand when what the function writes changes.
        params: see Job.
        inputs: stages whose folders it reads, by role.
        locations: see Job.
        parallel: whether it may run under torchrun; not part of the fingerprint.
        measures: whether it measures the world, so that its result grows old.
        resource: what it depends on outside this machine's files, such as a device's name; stages of one
            resource fail together. Not part of the fingerprint.
    """

    name: str
    path: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    locations: Mapping[str, Any] = field(default_factory=dict)
    parallel: bool = False
    measures: bool = False
    resource: str = ""

    @property
    def function(self) -> StageFunction:
        """The function itself, imported when it is first needed."""
        module, _, name = self.path.partition(":")
        function: StageFunction = getattr(import_module(module), name)
        return function

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the function's path, the version, the params and the inputs' fingerprints, in hex."""
        identity = {
            "function": self.path,
            "version": self.version,
            "params": self.params,
            "inputs": {role: stage.fingerprint for role, stage in self.inputs.items()},
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def ancestors(self) -> Iterator[Stage]:
        """Every stage on which this stage depends; a stage may occur more than once."""
        for stage in self.inputs.values():
            yield stage
            yield from stage.ancestors()
