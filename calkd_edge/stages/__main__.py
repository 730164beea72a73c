"""Run one stage from its job.json: what torchrun starts on every rank.

torchrun --nproc-per-node 2 -m calkd_edge.stages job.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from calkd_edge.engine.stage import Job


def main(argv: list[str]) -> None:
    """Read the job and call its function; progress is not shown from here."""
    description = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    module, _, name = description["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {role: Path(path) for role, path in description["inputs"].items()}
    out, scratch = Path(description["out"]), Path(description["scratch"])
    function(
        Job(description["params"], description["places"], inputs, out, scratch, lambda done, total: None)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
