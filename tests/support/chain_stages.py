"""A chain of small stages that resume, and the process that runs it, for tests of kills and locks.

python chain_stages.py STORE [SECONDS_A_STEP]
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from calkd_edge.files import write_atomically

STEPS = 8


def count(job):
    """Write steps.txt, a line per step, and attempts.txt; scratch keeps each step after a kill."""
    with open(job.scratch / "attempts", "a", encoding="utf-8") as attempts:
        attempts.write("x")
    kept = job.scratch / "steps"
    kept.mkdir(exist_ok=True)
    above = [(folder / "steps.txt").read_text() for folder in job.inputs.values()]
    (job.out / "early.txt").write_text("written before the work begins\n")
    for step in range(STEPS):
        if not (kept / f"{step}").exists():
            time.sleep(job.locations["seconds"])
            write_atomically(kept / f"{step}", f"{job.params['name']} {step}\n".encode())
    lines = [(kept / f"{step}").read_text() for step in range(STEPS)]
    (job.out / "steps.txt").write_text("".join([*above, *lines]))
    (job.out / "deep").mkdir()
    (job.out / "deep" / "attempts.txt").write_text((job.scratch / "attempts").read_text())


def endless(job):
    """Not done for ten minutes; each process of it writes its number down."""
    (job.scratch / os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(600)


def summed(job):
    """The sum of all ranks' numbers plus one, over gloo, which rank 0 writes.

    A rank named in `fails` raises an error instead.
    """
    import torch
    from torch import distributed

    from calkd_edge.errors import EnvironmentProblem

    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    (job.scratch / f"rank-{rank}").write_text(os.environ["LOCAL_RANK"])
    if job.params.get("waits"):
        time.sleep(600)
    if rank == job.params.get("fails"):
        raise EnvironmentProblem(f"rank {rank} has no card", remedy="Plug one in.")
    total = torch.tensor(rank + 1)
    distributed.all_reduce(total)
    if rank == 0:
        (job.out / "sum").write_text(f"{int(total)} of {distributed.get_world_size()}")
    distributed.destroy_process_group()


class Silent:
    """A watcher without output that records which stages were reused."""

    def __init__(self):
        self.reused = {}

    def started(self, stage):
        return lambda done, total: None

    def finished(self, stage, *, reused, seconds):
        self.reused[stage.name] = reused


def chain(seconds: float, names=("first", "second", "third")):
    """Three stages, each resting on the one before."""
    from calkd_edge.engine.stage import Stage

    stages = []
    for name in names:
        inputs = {"above": stages[-1]} if stages else {}
        stages.append(
            Stage(name, "chain_stages:count", 1, {"name": name}, inputs, locations={"seconds": seconds})
        )
    return stages


def main(arguments):
    """Run the chain and print which stages were reused."""
    from calkd_edge.engine.runner import Runner
    from calkd_edge.engine.store import Store

    watcher = Silent()
    runner = Runner(Store(Path(arguments[0])), watcher, dict)
    for stage in chain(float(arguments[1])):
        runner.run(stage)
    print(json.dumps(watcher.reused))


if __name__ == "__main__":
    main(sys.argv[1:])
