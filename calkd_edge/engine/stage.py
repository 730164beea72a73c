"""Stage: a step of a plan, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
        name: for messages and logs: "distill", "benchmark-int8@local".
        function: a module-level function; its import path is part of the fingerprint.
        version: increased by hand when the output of the function changes.
        params: see Job.
        inputs: stages whose folders it reads, by role.
        locations: see Job.
        parallel: whether it may run under torchrun; not part of the fingerprint.
        measures: whether it measures a device, so that its result becomes outdated.
    """

    name: str
    function: StageFunction
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    locations: Mapping[str, Any] = field(default_factory=dict)
    parallel: bool = False
    measures: bool = False

    @property
    def path(self) -> str:
        """Import path of the function, "module:name"."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

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
