"""A process that shares a store with others: runs a chain of stages, starts some again, or collects.

python shared_store.py STORE TURNS SEED [collect]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from chain_stages import Silent, chain

from calkd_edge.engine.collect import collect
from calkd_edge.engine.locks import keeping_folders
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.store import Store

TAILS = (("first", "second", "third"), ("first", "second", "other"), ("first", "another", "third"))
"""The chains that are run: each shares some stages with each other."""


def run_once(root: Path, draw: random.Random) -> list[str]:
    """Run the chain as a recipe is run: `--fresh` first, then the stages, then the folders are read."""
    store, stages = Store(root), chain(0.0, draw.choice(TAILS))
    with keeping_folders():
        for stage in stages[draw.randrange(4) :]:
            with store.lock(stage):
                store.discard(stage)
        folders = [Runner(store, Silent(), dict).run(stage).folder for stage in stages]
        return [(folder / "steps.txt").read_text(encoding="utf-8") for folder in folders]


def main(arguments: list[str]) -> None:
    """Take the turns; any error ends the process."""
    root, turns, seed = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    draw = random.Random(seed)
    for _ in range(turns):
        if arguments[3:]:
            collect(
                Store(root),
                {stage.fingerprint for stage in chain(0.0, draw.choice(TAILS))[: draw.randrange(3)]},
            )
        else:
            lines = run_once(root, draw)
            assert [text.count("\n") for text in lines] == [8, 16, 24], lines


if __name__ == "__main__":
    main(sys.argv[1:])
