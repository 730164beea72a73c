"""The checkpoint after each epoch, from which a killed training resumes.

The last two are kept, each with its digest in its name: a training resumes from the newest that is intact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from calkd_edge.files.named_by_digest import first_intact, write_with_digest
from calkd_edge.training.averaging import WeightAverage

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KEPT = 2


def checkpoints(scratch: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(scratch.glob("epoch-*.ckpt"), reverse=True)


class Locations(Protocol):
    """The paths of the checkpoint and the history."""

    @property
    def scratch(self) -> Path:
        """The folder that survives a kill."""

    @property
    def history(self) -> Path:
        """The file with one JSON line per epoch."""


@dataclass(frozen=True)
class State:
    """Everything of a training that changes from step to step.

    Attributes:
        module: in training, including the layers of losses.
        optimizer: with its momenta; Fabric wraps it.
        average: of the weights, if there is any.
        fabric: its precision may contain a gradient scaler.
    """

    module: nn.Module
    optimizer: Any
    average: WeightAverage | None
    fabric: Fabric

    def save(self, paths: Locations, epochs_done: int, lines: list[str]) -> None:
        """Write a checkpoint, remove the oldest, and rewrite the history."""
        state = {
            "epochs_done": epochs_done,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "history": lines,
        }
        write_with_digest(paths.scratch / f"epoch-{epochs_done:06}.ckpt", partial(torch.save, state))
        for old in checkpoints(paths.scratch)[KEPT:]:
            old.unlink()
        paths.history.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def resume(self, paths: Locations) -> tuple[int, list[str]]:
        """Restore everything from the newest intact checkpoint, if there is one.

        Returns:
            the first epoch to run, and the history so far.
        """
        path = first_intact(checkpoints(paths.scratch))
        if path is None:
            return 0, []
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.restore(state["average"])
        lines = list(state["history"])
        paths.history.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return int(state["epochs_done"]), lines
