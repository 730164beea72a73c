"""Eight processes that write one store at once, with collections between them."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
import traceback
from pathlib import Path

import shared_store
from chain_stages import Silent, chain
from whole_runs import in_store

from calkd_edge.engine.collect import collect
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.store import Store

WRITERS, COLLECTORS = 8, 2
LIMIT_S = 120.0
"""All of them; a try takes two seconds, and under load some more."""


def shared_by_eight(number: int, folder: Path) -> str:
    """Run eight writers and two collectors on one store; every third time one of them is killed."""
    draw, root = random.Random(f"writers {number}"), folder / "store"
    shutil.rmtree(root, ignore_errors=True)
    start = multiprocessing.get_context("fork")
    roles = [["3", str(draw.randrange(10**6))] for _ in range(WRITERS)]
    roles += [["12", str(draw.randrange(10**6)), "collect"] for _ in range(COLLECTORS)]
    errors = [folder / f"errors-{place}.txt" for place in range(len(roles))]
    processes = [
        start.Process(target=_take_role, args=([str(root), *role], path))
        for role, path in zip(roles, errors, strict=True)
    ]
    for process in processes:
        process.start()
    killed = None
    if number % 3 == 0:
        time.sleep(draw.uniform(0.0, 1.0))
        killed = draw.randrange(len(processes))
        processes[killed].kill()
    end = time.monotonic() + LIMIT_S
    wrong = []
    for place, process in enumerate(processes):
        process.join(max(0.0, end - time.monotonic()))
        if process.exitcode is None:
            wrong.append(f"process {place} has no end after {LIMIT_S:.0f} s")
            process.kill()
            process.join()
        elif process.exitcode != 0 and place != killed:
            text = errors[place].read_text(encoding="utf-8")[-600:]
            wrong.append(f"process {place} of {roles[place]} ended with {process.exitcode}: {text}")
    if wrong:
        return "; ".join(wrong)
    for names in shared_store.TAILS:
        for stage in chain(0.0, names):
            Runner(Store(root), Silent(), dict).run(stage)
    wrong += in_store(root)
    if killed is not None:  # its folders stay until they are made or collected
        collect(Store(root), {path.name for path in Store(root).folders()})
    wrong += [f"work/{path.name} was left" for path in (root / "work").iterdir()]
    return "; ".join(wrong)


def _take_role(arguments: list[str], errors: Path) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    try:
        shared_store.main(arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
