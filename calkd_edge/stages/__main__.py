"""Run one stage from its job.json, as torchrun starts it on every rank; or join a run on another machine.

torchrun --nproc-per-node 2 -m calkd_edge.stages job.json
python -m calkd_edge.stages --join STORE --node 1
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from calkd_edge.engine.join import join
from calkd_edge.engine.processes import run_rank
from calkd_edge.errors import CalkdError


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m calkd_edge.stages", allow_abbrev=False)
    parser.add_argument("job", nargs="?", type=Path, help="the job of a stage, which torchrun starts")
    parser.add_argument("--join", type=Path, metavar="STORE", help="the shared store of a run")
    parser.add_argument("--node", type=int, default=1, help="number of this machine, from 1")
    chosen = parser.parse_args()
    if (chosen.job is None) == (chosen.join is None):
        parser.error("name a job, or a store with --join")
    if chosen.job is not None:
        run_rank(chosen.job)
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        join(chosen.join, chosen.node)
    except CalkdError as problem:
        sys.stderr.write(f"error: {problem.message}\nfix: {problem.remedy}\n")
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
