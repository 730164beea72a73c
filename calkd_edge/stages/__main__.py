"""Run one stage from its job.json: what torchrun starts on every rank.

torchrun --nproc-per-node 2 -m calkd_edge.stages job.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from calkd_edge.engine.processes import run_rank

if __name__ == "__main__":
    run_rank(Path(sys.argv[1]))
